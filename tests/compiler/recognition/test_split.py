"""Which requests are of one task: two tasks are never taken for one."""

import pytest

from compiler.recognition.align import BREAK
from compiler.recognition.split import constant, split
from tests.compiler.recognition.traffic import Learned, Prose, apart, chat, filled, never_merged, shuffled, told, user

EACH = 30  # requests of a task to learn from
SYSTEM = "You work for the support desk of a shop that sells garden furniture in several countries."

TWINS = {
    "a word": ("Decide whether the comment below is {}.\nComment: <>", "friendly", "polite"),
    "a negation": ("Decide whether the comment below is{} toxic. Answer yes or no.\nComment: <>", "", " not"),
    "a number": ("Summarise the report in {} sentences, for a busy reader.\n\n<>", "2", "3"),
    "a large number": ("Summarise the report in at most {} words, for a busy reader.\n\n<>", "1,250", "1,550"),
    "a language": ("Translate the message into {}. Give the translation only.\n\n<>", "French", "German"),
    "an antonym": ("Rewrite the notice so that it sounds {} formal, and keep its facts.\n\n<>", "more", "less"),
    "a letter": ("List every {} that the text below has, one a line.\n\n<>", "name", "nome"),
    "case": ("Classify the text below as {}, nothing else.\n\n<>", "spam or ham", "Spam or Ham"),
    "a format": ("Extract the people from the text below as {}.\n\n<>", "JSON", "YAML"),
    "the last word": ("<>\n\nWrite a reply to the message above that is {}.", "short", "long"),
    "a word beside the data": ("Say in one short line whether the text below is about {}\n\n<>", "cats", "dogs"),
    "a sign beside the data": ("Estimate what the thing in the text below is worth in {}: <>", "$", "€"),
    "a number behind the data": ("Read this text, and say whether it fits.\n\n<>\n\n{}", "Level 2", "Level 3"),
    "the middle": ("<>\n\nIs it {} of these two? Say which and why, in a line.\n\n<>", "the better", "the worse"),
    "a last sentence": ("Summarise the text below in one line.\n\n<>{}", "", "\n\nWrite it in German."),
    "a first sentence": ("{}Summarise the text below in one line.\n\n<>", "", "Ignore all names. "),
    "white space": ("Summarise the text below:{}in one line of plain text.\n\n<>", " ", "\n"),
    "punctuation": ("Say what the writer of the text wants{}\n\n<>", ".", "?"),
    "another script": ("请把下面的文字翻译成{},只输出译文。\n\n<>", "法语", "德语"),
    "an accent": ("Réponds à la question{} en une phrase, sans détour.\n\n<>", " posée", " posee"),
}


def written(template: str, varied: str):
    """A family of requests: the template with what is varied, and data in place of each <>."""

    def family(text: str):
        halves = iter((text, text[::-1]))
        parts = template.replace("{}", varied).split("<>")
        return user("".join(part + next(halves) for part in parts[:-1]) + parts[-1])

    return family


def learned_from(*families, each: int = EACH) -> Learned:
    """Their requests in turn, in no order."""
    prose = Prose("learn")
    return Learned(shuffled([family(text) for family in families for text in prose.texts(each)]))


@pytest.mark.parametrize("difference", TWINS)
def test_twins_that_differ_in_hardly_anything_are_two_tasks(difference):
    template, one, other = TWINS[difference]
    families = written(template, one), written(template, other)
    apart(learned_from(*families), families)


@pytest.mark.parametrize("difference", ["a word", "a negation", "a number", "a language", "a last sentence"])
@pytest.mark.parametrize("rare", [3, 8])
def test_a_rare_twin_is_its_own_task_or_none_but_never_the_common_one(difference, rare):
    template, one, other = TWINS[difference]
    common, twin = written(template, one), written(template, other)
    prose = Prose("learn")
    learned = Learned(shuffled([common(t) for t in prose.texts(100)] + [twin(t) for t in prose.texts(rare)]))
    new = Prose("scored").texts(20)
    task = learned.the_task(common(text) for text in new)
    assert task not in learned.tasks(twin(text) for text in new)


@pytest.mark.parametrize("seen", [0, 1, 2])
@pytest.mark.parametrize("difference", [difference for difference in TWINS if difference != "a last sentence"])
def test_a_twin_that_was_hardly_seen_is_never_of_the_common_task(difference, seen):
    template, one, other = TWINS[difference]
    common, twin = written(template, one), written(template, other)
    prose = Prose("learn")
    learned = Learned(shuffled([common(t) for t in prose.texts(60)] + [twin(t) for t in prose.texts(seen)]))
    new = Prose("scored").texts(20)
    task = learned.the_task(common(text) for text in new)
    assert task not in learned.tasks(twin(text) for text in new)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Write a summary of it in French.", "Write a summary of it in German."),
        ("Name the three strongest points.", "Name the three weakest points."),
        ("Is this contract signed? Answer yes or no.", "Is this contract not signed? Answer yes or no."),
    ],
)
def test_twins_that_differ_only_behind_a_long_document_are_two_tasks(one, other):
    prose = Prose("documents")

    def family(told: str):
        return lambda _: user(f"Here is a document from our archive.\n\n{prose.document(6_000)}\n\n{told}".rstrip())

    families = family(one), family(other)
    apart(learned_from(*families, each=12), families)


@pytest.mark.parametrize("told", ["Ignore the second paragraph.", "Never name the second person in it."])
def test_an_instruction_that_only_some_have_behind_a_long_document_is_never_merged(told):
    prose = Prose("documents")
    families = [
        lambda _, end=end: user(f"Summarise this document for us.\n\n{prose.document(6_000)}{end}")
        for end in ("", f"\n\n{told}")
    ]
    never_merged(learned_from(*families, each=12), families)


@pytest.mark.parametrize("words", [("Praise", "Blame"), ("Repeat", "Rewrite"), ("Do", "Do not")])
def test_twins_that_differ_in_their_first_word_are_never_merged(words):
    families = [written("{} what the writer of the text below did, in a line or two.\n\n<>", word) for word in words]
    never_merged(learned_from(*families), families)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Answer in French.", "Answer in German."),
        ("Be brief.", "Don't be brief."),
        ("You may promise a refund of 10 %.", "You may promise a refund of 20 %."),
    ],
)
def test_twins_that_differ_only_in_the_system_prompt_are_two_tasks(one, other):
    families = [lambda text, rule=rule: told(f"{SYSTEM} {rule}", text) for rule in (one, other)]
    apart(learned_from(*families), families)


def test_the_order_of_paragraphs_makes_two_tasks():
    first, second = "Write a title for the text at the end.", "Then name the mood of its writer."
    families = [
        lambda text, head=head: user(f"{head}\n\nText: {text}")
        for head in (f"{first}\n\n{second}", f"{second}\n\n{first}")
    ]
    apart(learned_from(*families), families)


def test_data_before_or_behind_the_instructions_makes_two_tasks():
    order = "Say in one word what this customer is angry about."
    families = [lambda text: user(f"{order}\n\n{text}"), lambda text: user(f"{text}\n\n{order}")]
    apart(learned_from(*families), families)


INSTRUCTIONS = [
    "Summarise this message in one sentence.\n\n<>",
    "Which product is this about? Name it, nothing else.\n\n<>",
    "Translate this message into Polish.\n\n<>",
    "<>\n\nWrite a friendly answer to this customer.",
    "Rate how angry the writer is, from 1 to 5.\n\n<>",
]


@pytest.mark.parametrize("count", [3, 4, 5])
def test_several_instructions_under_one_system_prompt_are_a_task_each(count):
    families = [lambda text, order=order: told(SYSTEM, order.replace("<>", text)) for order in INSTRUCTIONS[:count]]
    apart(learned_from(*families), families)


def test_an_instruction_of_twenty_values_makes_twenty_tasks():
    moods = [
        "angry",
        "amused",
        "anxious",
        "bored",
        "brave",
        "calm",
        "cheerful",
        "confused",
        "curious",
        "eager",
        "envious",
        "grateful",
        "hopeful",
        "jealous",
        "lonely",
        "nervous",
        "proud",
        "relieved",
        "tired",
        "worried",
    ]
    families = [lambda text, mood=mood: user(f"Say whether the writer is {mood}.\n\nText: {text}") for mood in moods]
    apart(learned_from(*families, each=12), families)


def test_a_choice_of_values_that_never_came_together_is_of_no_task():
    def family(tone: str, length: str):
        return lambda text: user(f"Rewrite the text in a {tone} tone, as a {length} for our shop.\n\nText: {text}")

    seen = [family(*pair) for pair in (("warm", "letter"), ("warm", "poster"), ("cool", "letter"))]
    learned = learned_from(*seen)
    apart(learned, seen)
    assert learned.tasks(family("cool", "poster")(text) for text in Prose("scored").texts(5)) == {None}


@pytest.mark.parametrize("new", ["Italian", "french", "French and German", "French. Shout", ""])
def test_a_value_of_an_instruction_that_was_never_seen_is_of_no_task(new):
    def family(language: str):
        return lambda text: user(f"Translate the message of our customer into {language}, nothing more:\n{text}")

    learned = learned_from(*map(family, ("French", "German", "Spanish")))
    assert learned.tasks(family(new)(text) for text in Prose("scored").texts(5)) == {None}


@pytest.mark.parametrize("names", [12, 20, 300])
def test_a_name_of_many_is_data(names):
    prose = Prose("names")
    pool = [prose.name() for _ in range(names)]
    requests = [
        user(f"Write a birthday card for our customer {prose.random.choice(pool)} in four lines. She said: {text}")
        for text in prose.texts(150)
    ]
    learned = Learned(requests)
    new = [
        user(f"Write a birthday card for our customer {prose.name()} in four lines. She said: {text}")
        for text in prose.texts(20)
    ]
    assert learned.the_task(new) == learned.the_task(requests[:40])


def test_a_language_of_many_is_never_data():
    """Languages are written like names, and instruct."""
    languages = [
        "French",
        "German",
        "Spanish",
        "Italian",
        "Portuguese",
        "Dutch",
        "Russian",
        "Chinese",
        "Japanese",
        "Korean",
        "Arabic",
        "Hindi",
        "Turkish",
        "Polish",
    ]
    families = [
        lambda text, to=to: user(f"Translate the message below into {to}.\n\nMessage: {text}") for to in languages
    ]
    learned = learned_from(*families, each=15)
    apart(learned, families)
    assert learned.tasks(filled("Translate the message below into Welsh.\n\nMessage: {}", Prose(5).texts(5))) == {None}


def test_codes_of_many_are_data():
    prose = Prose("codes")
    order = "Say in one short line what became of order {}, which the customer asks about: "
    requests = [user(order.replace("{}", f"A{prose.random.randrange(10**6)}") + prose.text()) for _ in range(60)]
    learned = Learned(requests)
    assert learned.task(user(order.replace("{}", "A777") + prose.text())) == learned.the_task(requests)


def test_plans_that_repeat_split():
    families = [
        lambda text, plan=plan: user(f"You help customers of the {plan} plan with their questions.\n\nQuestion: {text}")
        for plan in ("Basic", "Team", "Enterprise")
    ]
    apart(learned_from(*families), families)


SHORT_SYSTEMS = ["You are a helpful assistant.", "Be brief.", "You are a pirate."]


@pytest.mark.parametrize("system", [None, "You are a helpful assistant.", "Be helpful."])
def test_free_text_without_instructions_is_free_chat(system):
    requests = [told(system, text) if system else user(text) for text in Prose("free").texts(80)]
    learned = Learned(requests)
    assert learned.tasks(requests) == {None}
    if system:
        assert all(found and found.template.catch_all for found in map(learned.match, requests))


def test_a_system_prompt_that_some_put_instructions_under_is_shared_and_its_rest_is_free_chat():
    prose = Prose("shared")
    ordered = [told(SYSTEM, f"Write a title for this text: {text}") for text in prose.texts(40)]
    free = [told(SYSTEM, text) for text in prose.texts(40)]
    learned = Learned(shuffled(ordered + free))
    assert learned.tasks(free) == {None}
    assert learned.the_task(ordered)


def test_all_data_under_a_system_prompt_that_says_what_to_do_is_a_task():
    system = "Decide what the customer wants: refund, exchange or repair. Answer with that word only."
    requests = [told(system, text) for text in Prose("specific").texts(40)]
    learned = Learned(requests)
    assert learned.task(told(system, Prose("new").text())) == learned.the_task(requests)


@pytest.mark.parametrize("system", ["Translate to French.", "Classify the sentiment.", "Summarise in one line."])
def test_a_few_words_of_system_prompt_say_too_little_to_compile(system):
    learned = Learned([told(system, text) for text in Prose("short").texts(40)])
    assert learned.tasks(told(system, text) for text in Prose("new").texts(5)) == {None}


def test_turns_that_never_differ_are_of_the_task():
    shots = (
        ("user", "The chair came with a leg too few."),
        ("assistant", "repair"),
        ("user", "I want my money back."),
        ("assistant", "refund"),
    )
    other = (*shots[:3], ("assistant", "exchange"))
    system = "Say in one word what the customer wants."
    families = [lambda text, s=s: chat(("system", system), *s, ("user", text)) for s in (shots, other)]
    apart(learned_from(*families), families)


def test_a_conversation_whose_answers_differ_is_of_no_task():
    prose = Prose("conversations")
    requests = [
        chat(("system", SYSTEM), ("user", prose.text()), ("assistant", prose.text()), ("user", prose.text()))
        for _ in range(60)
    ]
    assert Learned(requests).templates == []


@pytest.mark.parametrize("count", [1, 2])
def test_requests_of_less_than_three_kinds_of_data_are_no_task(count):
    requests = filled("Say in one line what this is about, and no more.\n\n{}", Prose("few").texts(count))
    assert Learned(requests).tasks(requests) == {None}


def test_a_request_that_is_always_the_same_is_a_task():
    same = user("Write a joke about garden furniture that nobody has told before.")
    learned = Learned([same] * 3)
    assert learned.task(same)
    assert learned.task(user("Write a joke about garden furniture that nobody has told before!")) is None


def test_a_request_that_is_always_the_same_and_says_too_little_is_free_chat():
    learned = Learned([user("Hi there")] * 5)
    found = learned.match(user("Hi there"))
    assert found is not None
    assert found.template.catch_all


def test_nothing_to_split_is_nothing():
    assert split([], ("user",)) == []


def test_texts_of_several_messages_keep_to_their_message():
    """The same words, once at the end of the system prompt, once at the beginning of the user's message."""
    prose = Prose("messages")
    rule = "Answer with one of the words good and bad, nothing else."
    texts = [f"Tell the mood. {rule}{BREAK}{text}" for text in prose.texts(20)]
    texts += [f"Tell the mood.{BREAK}{rule} {text}" for text in prose.texts(20)]
    groups = [set(found.members) for found in split(texts, ("system", "user"))]
    assert all(group <= set(range(20)) or group.isdisjoint(range(20)) for group in groups)
    assert len(groups) == 2


def test_a_constant_text_has_no_gaps():
    found = constant(f"Tell the mood of this text in one word, please.{BREAK}So happy", ("system", "user"))
    assert (found.members, found.aligned.gaps, found.enumerated) == ([0], [], frozenset())
    assert not found.catch_all
