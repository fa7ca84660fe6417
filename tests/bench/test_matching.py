from bench.matching import LONG, STRUCTURE, longer, quantile, templates_and_requests
from compiler.recognition.recognise import Recogniser


def test_every_request_is_of_the_template_it_is_timed_with() -> None:
    templates, asked = templates_and_requests(200, 1)
    assert len(templates) == len({template.id for template in templates}) == 200
    index = Recogniser(templates)
    long = longer(asked, {template.id: template for template in templates}, 1)
    assert len(asked) == len(long) > 100
    assert any(sum(map(len, one.texts)) > LONG for one in long)
    found = [index.match(STRUCTURE, one.texts) for one in asked]
    right = sum(
        match is not None and match.template.id == one.template for match, one in zip(found, asked, strict=True)
    )
    assert right / len(asked) > 0.98


def test_a_quantile_is_one_of_the_values() -> None:
    assert [quantile([3, 1, 2, 4], share) for share in (0, 0.5, 0.99, 1)] == [1, 3, 4, 4]
