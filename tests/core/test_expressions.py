"""CEL conditions: what they can say, what is refused when received, and that nothing hostile gets through."""

from __future__ import annotations

from time import process_time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nexusd.core import expressions
from nexusd.core.errors import InputError
from nexusd.core.expressions import ExpressionError, compile_where, instance_where, region_where
from nexusd.core.records import Instance, Region, Specs
from tests.effort import examples

LONDON = Region("eu-west-2", "London, UK", "healthy", 45.0, capacity=True)
UNMEASURED = Region("eu-west-2", "London, UK", "healthy", None, capacity=True)
DATABASE = Instance(
    "inst_1", "db-1", "running", "eu-west-2", None, "2026-01-31T12:00:00Z", Specs(4.0, 16.0, 200.0), "pro"
)


@pytest.mark.parametrize(
    "text",
    [
        "region.latency_ms < 80",
        "region.latency_ms < 80.0",
        "region.latency_ms == 45",
        "region.latency_ms in [45, 46]",
        'region.latency_ms < 80.0 && region.slug.startsWith("eu-")',
        'region["slug"] == "eu-west-2"',
        "region.capacity",
        '!(region.status != "healthy")',
        'region.name.contains("London") || region.slug.endsWith("-9")',
        'region.slug in ["us-east-1", "eu-west-2"]',
        '["eu-", "us-"].exists(prefix, region.slug.startsWith(prefix))',
        'region.slug.matches("^eu-\\\\w+-\\\\d$")',
        'region.slug.matches(r"^[\\w-]+$")',
        "region.latency_ms + 5.0 < 80.0",
        "double(size(region.slug)) < region.latency_ms",
        '{"us-east-1": 10, "eu-west-2": 90}[region.slug] > region.latency_ms',
        "region.capacity  // said at the end",
        "region != null",
        'region.exists(field, field == "slug") && region.size() == 5',
        "region.latency_ms != null && region.latency_ms < 80",
    ],
)
def test_a_condition_that_holds(text: str) -> None:
    assert region_where(text)(LONDON) is True


@pytest.mark.parametrize(
    "text",
    ["region.latency_ms > 80", "!region.capacity", 'region.slug == "EU-WEST-2"', "region.latency_ms == null"],
)
def test_a_condition_that_does_not_hold(text: str) -> None:
    assert region_where(text)(LONDON) is False


@pytest.mark.parametrize(
    "text",
    [
        'instance.status == "running"',
        "instance.cpu >= 4 && instance.ram_gb < 32 && instance.disk_gb == 200",
        'instance.name.startsWith("db-") && instance.region == "eu-west-2" && instance.plan == "pro"',
        "instance.public_ip == null && instance.image == null",
        'timestamp(instance.created_at) < timestamp("2027-01-01T00:00:00Z")',
    ],
)
def test_a_condition_over_an_instance_that_holds(text: str) -> None:
    assert instance_where(text)(DATABASE) is True


def test_an_instance_without_specs_has_none_of_them() -> None:
    assert instance_where("instance.cpu == null")(Instance("i", "n", "running", "r"))


def test_a_condition_may_see_an_instance_and_its_region() -> None:
    both = compile_where("instance.region == region.slug && region.capacity", ("instance", "region"))
    assert both(DATABASE, LONDON)


# what one record lacks


def test_a_comparison_with_an_unknown_latency_says_what_is_not_known() -> None:
    with pytest.raises(ExpressionError, match=r"^region\.latency_ms is not known$"):
        region_where("region.latency_ms < 80")(UNMEASURED)


def test_what_does_not_hang_on_the_unknown_field_is_still_decided() -> None:
    assert region_where('region.latency_ms < 80 || region.slug == "eu-west-2"')(UNMEASURED)
    assert not region_where('region.latency_ms < 80 && region.slug == "us-east-1"')(UNMEASURED)


def test_a_conversion_that_fails_for_one_record_is_an_error_of_that_record() -> None:
    numbered = region_where("int(region.name) > 3")
    assert numbered(Region("a", "4"))
    with pytest.raises(ExpressionError):
        numbered(LONDON)


def test_a_result_of_another_type_for_one_record_is_an_error_of_that_record() -> None:
    odd = region_where('region.slug == "eu-west-3" ? 1 : true')
    with pytest.raises(ExpressionError, match="the result is a number, not true or false"):
        odd(Region("eu-west-3"))


# what is refused when received


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the expression is empty"),
        ("  \n ", "the expression is empty"),
        ("region.latency_ms <", "syntax error at column 20: unexpected end"),
        ('region.slug = "a"', "syntax error at column 13: unexpected '= '; compare with =="),
        ("region.capacity and true", "syntax error at column 17: unexpected 'and'; CEL writes &&"),
        ("region.capacity\n&& &&", "syntax error at line 2, column 4: unexpected '&&'"),
        ("region.latancy < 80", "unknown field region.latancy; did you mean region.latency_ms?"),
        ("true || region.latancy < 80", "unknown field region.latancy; did you mean region.latency_ms?"),
        ('region["slugg"] == ""', "unknown field region.slugg; did you mean region.slug?"),
        ("region.x9", "unknown field region.x9; region has capacity, latency_ms, name, slug, status"),
        ("latency_ms < 80", "unknown name latency_ms; did you mean region.latency_ms?"),
        ("regon.capacity", "unknown name regon; did you mean region?"),
        (
            "region.status == healthy",
            'unknown name healthy; known: region (text goes in quotes: "healthy")',
        ),
        ("region.capacity == True", "unknown name True; CEL writes true"),
        ('region.slug.startWith("a")', "unknown function startWith(); did you mean startsWith()?"),
        ("region", "the result is a map, not true or false"),
        ("region.slug", "the result is text, not true or false"),
        ("region.capacity ? true : 1", "the result is a number, not true or false"),
        ('region.slug.matches("(")', 'the pattern "(" is not valid: unclosed group'),
        ("1 / 0 == 1", "division by zero in CEL expression"),
    ],
)
def test_a_wrong_expression_is_explained_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        region_where(text)
    assert str(raised.value) == message


@pytest.mark.parametrize("text", ["region.slug < 1", "region.latency_ms + 1 < 80", "region.capacity && 1"])
def test_types_that_cannot_fit_are_refused(text: str) -> None:
    with pytest.raises(ExpressionError, match="wrong type"):
        region_where(text)


def test_a_record_that_is_not_offered_is_unknown() -> None:
    with pytest.raises(ExpressionError, match="unknown name instance"):
        region_where("instance.cpu > 1")


def test_the_error_names_the_field_it_came_in() -> None:
    with pytest.raises(InputError) as raised:
        region_where("region.latancy < 80", "fleets[0].where")
    assert raised.value.field == "fleets[0].where"


# what could grow without bound


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("region.capacity || " * 200 + "true", "longer than 2000 characters"),
        ("(" * 21 + "true" + ")" * 21, "nested more than 20 deep"),
        ("+".join(["1"] * 202) + " > 0", "more than 200 operators"),
        ("region" + ".slug" * 201, "more than 200 operators"),
        ("!" * 201 + "true", "more than 200 operators"),
        ("[1].all(x, [1].all(y, true))", r"all\(\) within a loop is not allowed"),
        ("[1].all(x, ([[1].exists(y, true)])[0])", r"exists\(\) within a loop is not allowed"),
        ("[1].all //\n (x, [1].all(y, true))", r"all\(\) within a loop is not allowed"),
        ("[1]" + ".filter(x, true)" * 5 + " == [1]", "more than 4 loops"),
        ('["a"].map(x, x + x).map(x, x + x) == []', r"more than one map\(\)"),
        ('["a"].all(x, x.matches("a"))', r"matches\(\) within a loop is not allowed"),
        ("region.slug.matches(region.name)", r"matches\(\) takes one pattern in quotes"),
        ('region.slug.matches("a" + "b")', r"matches\(\) takes one pattern in quotes"),
        ('matches(region.slug, "a")', r"matches\(\) takes one pattern in quotes"),
        ('region.slug.matches(b"a")', r"matches\(\) takes one pattern in quotes"),
        (" || ".join(['region.slug.matches("a")'] * 5), r"more than 4 uses of matches\(\)"),
        ('region.slug.matches("(a{50}){50}")', "expands to more than 300 parts"),
        ('region.slug.matches("([)]a{50}){50}")', "expands to more than 300 parts"),
        ('region.slug.matches("a{301,}")', "expands to more than 300 parts"),
        (r'region.slug.matches("\\pL+")', "Unicode class"),
    ],
)
def test_what_cannot_be_bounded_is_refused(text: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        region_where(text)


@pytest.mark.parametrize(
    "text",
    [
        'region.slug in ["' + '", "'.join(f"region-{n}" for n in range(120)) + '"] || true',
        r'region.slug.matches("^([0-9]{1,3}[.]){3}[0-9]{1,3}$") || true',
        r'region.slug.matches("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}") || true',
        'region.slug == "[1].all(x, [1].all(y, true))" || true',
        'region.name == "((((((((((((((((((((((((((((" || true',
    ],
)
def test_what_is_merely_long_is_accepted(text: str) -> None:
    assert region_where(text)(LONDON)


HARDEST = (
    "+".join(["1"] * 200) + " > 0",
    "!" * 200 + "true",
    "[" + ",".join(["1"] * 400) + "].all(x, " + "+".join(["x"] * 190) + " > 0)",
    '["aaaaaaaaaa"].map(x, ' + "+".join(["x"] * 90) + ").all(y, (" + "+".join(["y"] * 90) + ").size() > 0)",
    " && ".join(['!region.slug.matches("(.{17}){17}x")'] * 4),
    'region.slug.matches("(a+)+(b*)*(c|c)*$") || true',
)


@pytest.mark.parametrize("text", HARDEST, ids=range(len(HARDEST)))
def test_the_hardest_expression_that_is_accepted_ends_soon(text: str) -> None:
    """Some ms each; a second says that a bound is gone."""
    where = region_where(text)
    began = process_time()
    where(Region("a" * 500, "b" * 500, "healthy", 1.0, capacity=True))
    assert process_time() - began < 1.0


def test_ascii_classes_keep_their_meaning() -> None:
    words = region_where(r'region.name.matches("^\\w+ \\d\\S\\W$")')
    assert words(Region("a", "Zone_1 7x-"))
    assert not words(Region("a", "Zone_1 7 -"))
    assert not region_where(r'region.name.matches("^\\d$")')(Region("a", "٣"))


def test_an_escaped_backslash_is_no_class() -> None:
    assert region_where(r"""region.name.matches(r'^\\w$')""")(Region("a", "\\w"))


def test_the_same_text_is_compiled_once() -> None:
    assert compile_where("region.capacity", ("region",)) is compile_where("region.capacity", ("region",))


class PanicException(BaseException):
    pass


class Failing:
    def __init__(self, error: BaseException) -> None:
        self._error = error

    def execute(self, context: object) -> object:
        raise self._error


def test_a_panic_of_the_engine_is_an_error_and_not_the_end_of_the_process() -> None:
    broken = expressions.Expression("", ("region",), {}, Failing(PanicException("boom")))  # type: ignore[arg-type]
    with pytest.raises(ExpressionError, match="the expression engine failed on it"):
        broken(LONDON)


def test_an_interrupt_is_not_mistaken_for_the_expressions_fault() -> None:
    broken = expressions.Expression("", ("region",), {}, Failing(KeyboardInterrupt()))  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        broken(LONDON)


WORDS = st.sampled_from(
    [
        "region",
        ".",
        "slug",
        "latency_ms",
        "capacity",
        "nope",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        "?",
        "!",
        "-",
        "&&",
        "||",
        "==",
        "<",
        "in",
        "+",
        "/",
        "1",
        "1.5",
        "0",
        '"a"',
        "'b",
        "null",
        "true",
        "9223372036854775807",
        "matches",
        "all",
        "map",
        "exists",
        "x",
        "size",
        "int",
        "timestamp",
        "duration",
        "has",
        "r'\\'",
        "//",
        '"""',
    ]
)


@given(st.one_of(st.text(max_size=80), st.lists(WORDS, max_size=25).map(" ".join)))
@example("\x00")
@example("\ud800")
@example('region.slug == "\\ud800"')
@example("duration(\"99999999999999999999h\") > duration('1s')")
@settings(max_examples=examples(600), deadline=None)
def test_any_text_is_either_a_condition_or_refused_in_one_printable_line(text: str) -> None:
    outcome = "a condition"
    try:
        region_where(text)(UNMEASURED)
    except ExpressionError as error:
        outcome = str(error)
    assert outcome.isprintable()
    assert 0 < len(outcome) <= 700
