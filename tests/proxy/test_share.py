import pytest

from proxy.share import in_percent, read_share


@pytest.mark.parametrize(
    ("text", "share"),
    [("10%", 0.1), ("0.1", 0.1), ("100%", 1.0), ("0.5%", 0.005), (" 25 % ", 0.25), (".5", 0.5), ("1%", 0.01)],
)
def test_percent_and_fractions_are_read(text, share):
    assert read_share(text) == pytest.approx(share)


@pytest.mark.parametrize(
    "text",
    ["", "%", "ten", "0", "0%", "-10%", "-0.1", "101%", "1.5", "10", "nan", "nan%", "inf", "10%%", "0,1", "True"],
)
def test_what_is_no_share_is_told_how_to_write_one(text):
    with pytest.raises(ValueError, match=r"write 10% or 0\.1"):
        read_share(text)


@pytest.mark.parametrize("text", ["1", "1.0"])
def test_one_may_be_a_hundredth_or_all_and_is_asked_for(text):
    with pytest.raises(ValueError, match="write 1% or 100%"):
        read_share(text)


@pytest.mark.parametrize(("share", "text"), [(0.1, "10 %"), (1.0, "100 %"), (0.0155, "1.55 %"), (0.0, "0 %")])
def test_it_is_shown_in_percent(share, text):
    assert in_percent(share) == text
