"""Source code as people paste it: short functions in Python and JavaScript, SQL schemas and diffs."""

from random import Random

from bench.corpus.values import NAMES

VERBS, NOUNS = NAMES["verb"], NAMES["identifier"]
TYPES = ["int", "str", "list[str]", "dict[str, int]", "float", "bool", "Path", "bytes", "None"]
SQL_TYPES = ["INTEGER", "TEXT NOT NULL", "TIMESTAMP", "NUMERIC(10, 2)", "BOOLEAN DEFAULT FALSE", "VARCHAR(80)", "UUID"]
LIBRARIES = ["json", "os", "re", "time", "logging", "datetime", "requests", "collections", "itertools", "random", "csv"]


def _name(random: Random) -> str:
    return f"{random.choice(VERBS)}_{random.choice(NOUNS)}{random.choice(('', 's', '_by_id', '_list', '2', '_async'))}"


def _line(random: Random, given: str) -> str:
    noun, other = random.sample(NOUNS, 2)
    return random.choice(
        (
            f"{noun} = {given}.get('{other}', {random.randrange(100)})",
            f"{noun}s = [x for x in {given} if x.{other} > {random.randrange(1_000)}]",
            f"print('{noun}', {given})",
            f"{noun}_{other} = {random.choice(VERBS)}_{other}({given}, {random.choice(('True', 'None', '3', given))})",
            f"{noun} = {given} {random.choice('+-*%')} {random.randrange(2, 60)}",
            f"# TODO {random.choice(VERBS)} the {other} first, see {random.choice(NOUNS)}.py",
            f"self.{noun}[{given}] = {other!r}",
            f"time.sleep({random.randrange(1, 30)})",
            f"{noun} = open('/tmp/{other}.txt').read()",
            f"assert {given} is not {random.choice(('None', 'False', '0'))}, '{noun} missing'",
            f"{noun} = sorted({given}, key=lambda x: x['{other}'])",
            f"{noun} += len({given})",
            f"logger.{random.choice(('info', 'debug', 'error'))}('%s {noun}', {given})",
        )
    )


def python(random: Random) -> str:
    lines = [f"import {library}" for library in random.sample(LIBRARIES, random.randrange(3))]
    for _ in range(random.randrange(1, 4)):
        given = random.choice(NOUNS)
        hint = f": {random.choice(TYPES)}" if random.random() < 0.5 else ""
        lines += ["", f"def {_name(random)}({given}{hint}, {random.choice(NOUNS)}_id=None):"]
        lines += [f"    {_line(random, given)}" for _ in range(random.randrange(1, 5))]
        lines += _block(random, given)
        lines.append(f"    return {random.choice((given, random.choice(NOUNS), 'None', 'True'))}")
    return "\n".join(lines).strip()


def _block(random: Random, given: str) -> list[str]:
    head = random.choice(
        (
            f"for {random.choice(NOUNS)} in {given}:",
            f"if not {given}:",
            "try:",
            f"while {random.choice(NOUNS)} < {random.randrange(5, 500)}:",
            f"with open({given}) as f:",
        )
    )
    lines = [f"    {head}"] + [f"        {_line(random, given)}" for _ in range(random.randrange(1, 4))]
    return [*lines, "    except Exception:", "        pass"] if head == "try:" else lines


def javascript(random: Random) -> str:
    verb, noun, other = random.choice(VERBS), random.choice(NOUNS), random.choice(NOUNS)
    lines = [
        f"{random.choice(('async function', 'function', 'export function'))} {verb}{noun.title()}({noun}, {other}) {{"
    ]
    for _ in range(random.randrange(2, 9)):
        a, b = random.choice(NOUNS), random.choice(NOUNS)
        lines.append(
            "  "
            + random.choice(
                (
                    f"const {a} = {noun}.{b} || {random.randrange(50)};",
                    f"if ({a} == {random.choice(('null', 'undefined', repr(b), '0'))}) return {other};",
                    f"{noun}.forEach(({a}) => {random.choice(VERBS)}({a}.{b}));",
                    f"let {a} = await fetch(`/api/{b}/${{{noun}}}`);",
                    f"console.log('{a}', {noun}, {other}.{b});",
                    f"{noun}.{a} = {other}.{b}.map((x) => x * {random.randrange(2, 90)});",
                    f"setTimeout(() => {random.choice(VERBS)}({a}), {random.randrange(10, 9_000)});",
                    f"document.getElementById('{a}').innerHTML = {noun}.{b};",
                )
            )
        )
    return "\n".join([*lines, f"  return {random.choice(NOUNS)};", "}"])


def sql_schema(random: Random) -> str:
    tables = []
    for table in random.sample(NOUNS, random.randrange(1, 5)):
        columns = ["  id INTEGER PRIMARY KEY"]
        columns += [f"  {column} {random.choice(SQL_TYPES)}" for column in random.sample(NOUNS, random.randrange(2, 6))]
        tables.append(f"CREATE TABLE {table}s (\n" + ",\n".join(columns) + "\n);")
    return "\n\n".join(tables)


def diff(random: Random) -> str:
    lines = [f"--- a/{random.choice(NOUNS)}.py", f"@@ -{random.randrange(1, 400)},7 +{random.randrange(1, 400)},8 @@"]
    for _ in range(random.randrange(4, 16)):
        lines.append(f"{random.choice('+- ')}    {_line(random, random.choice(NOUNS))}")
    return "\n".join(lines)
