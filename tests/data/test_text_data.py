"""Texts of one's own, from files of every kind, and refusals that name file and line."""

from pathlib import Path

import numpy as np
import pytest

from mygo_edge.data.text import AG_NEWS, load_ag_news, load_text, split_rows
from mygo_edge.data.text_options import TextOptions
from mygo_edge.errors import MygoEdgeError

ROWS = [("sport", f"match {n}", f"they won {n} times") for n in range(10)] + [
    ("money", f"shares {n}", f'prices "rose", twice, {n}\nand fell') for n in range(10)
]
TWO = TextOptions(column="title,body", label="topic")


def csv_line(cells: tuple[str, ...], delimiter: str = ",") -> str:
    return delimiter.join('"' + cell.replace('"', '""') + '"' for cell in cells) + "\r\n"


def table(delimiter: str = ",") -> str:
    return csv_line(("topic", "title", "body"), delimiter) + "".join(csv_line(row, delimiter) for row in ROWS)


def write(path: Path, content: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode(encoding))
    return path


def test_a_table_becomes_texts_of_joined_columns_with_quotes_and_line_breaks_kept(tmp_path: Path) -> None:
    data = load_text(write(tmp_path / "news.csv", table()), TWO)
    assert data.classes == ["money", "sport"]
    assert (len(data.train.texts), len(data.test.texts)) == (16, 4)
    assert np.bincount(data.test.labels).tolist() == [2, 2]
    texts = data.train.texts + data.test.texts
    assert 'shares 3 prices "rose", twice, 3\nand fell' in texts


@pytest.mark.parametrize(("suffix", "delimiter"), [(".csv", ";"), (".csv", "\t"), (".csv", "|"), (".tsv", "\t")])
def test_the_delimiter_is_the_one_that_makes_the_columns(tmp_path: Path, suffix: str, delimiter: str) -> None:
    expected = load_text(write(tmp_path / "news.csv", table()), TWO)
    data = load_text(write(tmp_path / f"other{suffix}", table(delimiter)), TWO)
    assert data.fingerprint() == expected.fingerprint()


def test_json_lines_and_folders_hold_the_same_texts(tmp_path: Path) -> None:
    import json

    lines = "\n".join(json.dumps({"topic": t, "title": a, "body": b, "more": [1]}) for t, a, b in ROWS)
    data = load_text(write(tmp_path / "news.jsonl", lines), TWO)
    for number, (topic, title, body) in enumerate(ROWS):
        write(tmp_path / "folder" / topic / f"{number:03}.txt", f"{title} {body}\n")
    folder = load_text(tmp_path / "folder", TextOptions())
    assert sorted(folder.train.texts + folder.test.texts) == sorted(data.train.texts + data.test.texts)
    assert folder.classes == data.classes


def test_a_file_without_a_header_has_numbered_columns(tmp_path: Path) -> None:
    lines = "".join(csv_line((str(n % 3 + 8), "x", f"text {n}")) for n in range(12))
    data = load_text(write(tmp_path / "a.csv", lines), TextOptions(label="1", column="3"))
    assert data.classes == ["8", "9", "10"]  # in the order of numbers
    assert sorted(data.train.texts + data.test.texts) == sorted(f"text {n}" for n in range(12))


def test_train_and_test_files_are_used_as_they_are(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", table())
    write(tmp_path / "test.csv", csv_line(("topic", "title", "body")) + csv_line(ROWS[0]) + csv_line(ROWS[-1]))
    data = load_text(tmp_path, TWO)
    assert (len(data.train.texts), len(data.test.texts)) == (20, 2)
    write(tmp_path / "test.csv", csv_line(("topic", "title", "body")) + csv_line(("art", "a", "b")))
    with pytest.raises(MygoEdgeError, match=r"money, sport and .*test\.csv has art"):
        load_text(tmp_path, TWO)


def test_the_split_is_stratified_and_the_same_every_time() -> None:
    labels = np.repeat([0, 1, 2], [50, 10, 3])
    first, again, other = split_rows(labels, 0.2), split_rows(labels, 0.2), split_rows(labels, 0.2, seed=1)
    assert np.bincount(labels[first]).tolist() == [10, 2, 1]
    assert (first == again).all()
    assert (first != other).any()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings_are_told_by_mark_or_content_and_latin_1_is_said(
    tmp_path: Path, encoding: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "label,text\n" + "".join(f"{'ab'[n % 2]},caf\xe9 {n}\n" for n in range(10))
    data = load_text(write(tmp_path / "a.csv", lines, encoding), TextOptions())
    assert "caf\xe9 3" in data.train.texts + data.test.texts
    said = capsys.readouterr().err
    assert ("a.csv, line 2: this is not UTF-8; the file is read as Latin-1" in said) == (encoding == "latin-1")


@pytest.mark.parametrize(
    ("written", "asked"),
    [("utf-8-sig", "utf-8"), ("utf-8-sig", "latin-1"), ("utf-16", "utf-16-le"), ("utf-32", "auto")],
)
def test_a_mark_is_no_part_of_the_first_columns_name(tmp_path: Path, written: str, asked: str) -> None:
    lines = "label,text\n" + "".join(f"{'ab'[n % 2]},text {n}\n" for n in range(10))
    data = load_text(write(tmp_path / "a.csv", lines, written), TextOptions(encoding=asked))
    assert data.classes == ["a", "b"]


@pytest.mark.parametrize("blank", ["\n", " \r\n\r\n", ",\n", "\r"])
def test_blank_lines_before_the_header_are_skipped(tmp_path: Path, blank: str) -> None:
    lines = "label,text\n" + "".join(f"{'ab'[n % 2]},text {n}\n" for n in range(10))
    assert load_text(write(tmp_path / "a.csv", blank + lines), TextOptions()).classes == ["a", "b"]
    with pytest.raises(MygoEdgeError, match=r"a\.csv, line \d: there is no column 'topic' among label, text"):
        load_text(tmp_path / "a.csv", TextOptions(label="topic"))


def test_an_encoding_that_was_asked_for_is_not_guessed_around(tmp_path: Path) -> None:
    file = write(tmp_path / "a.csv", "label,text\na,caf\xe9\n", "latin-1")
    with pytest.raises(MygoEdgeError, match=r"a\.csv, line 2: this is not utf-8"):
        load_text(file, TextOptions(encoding="utf-8"))
    with pytest.raises(MygoEdgeError, match="no encoding"):
        load_text(file, TextOptions(encoding="klingon"))


BAD_LINES = [
    ("a.csv", "label,text\na,one\nb,\nb,two\n", "line 3: the text is empty"),
    ("a.csv", "label,text\na,one\n,two\n", "line 3: the class is empty"),
    ("a.csv", "label,text\na,one\na,one,two\n", "line 3: 3 columns instead of 2"),
    ("a.csv", 'label,text\na,one\na,"never closed\nb,two\n', "line 3: the row that starts here cannot be read"),
    ("a.csv", 'label,text\na,"multi\nline"\nb,\n', "line 4: the text is empty"),
    ("a.csv", "label,text\n" + "x" * 300 + ",one\n", "line 2: 'x{40}' cannot name a class"),
    ("a.jsonl", '{"label": "a", "text": "one"}\n{"label": "a"\n', "line 2: this is no JSON"),
    ("a.jsonl", '{"label": "a", "text": "one"}\n\n[1]\n', "line 3: this is no JSON object"),
    ("a.jsonl", '{"label": "a", "text": "one"}\n{"label": "b", "body": "x"}\n', "line 2: there is no 'text'"),
    ("a.jsonl", '{"label": "a", "text": {"x": 1}}\n', "line 1: a value is no text"),
    ("a.jsonl", '{"label": null, "text": "x"}\n', "line 1: the class is empty"),
    ("a.jsonl", '{"label": NaN, "text": "x"}\n', "line 1: the class is empty"),
    ("a.jsonl", '{"label": "a", "text": NaN}\n', "line 1: the text is empty"),
]


@pytest.mark.parametrize(("name", "content", "reason"), BAD_LINES)
def test_a_bad_line_is_refused_by_its_number(tmp_path: Path, name: str, content: str, reason: str) -> None:
    with pytest.raises(MygoEdgeError, match=f"{name}, {reason}.*--text.bad-lines skip"):
        load_text(write(tmp_path / name, content), TextOptions())


def test_bad_lines_are_skipped_and_counted_where_that_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = "".join(f"{'ab'[n % 2]},text {n}\n" for n in range(10))
    file = write(tmp_path / "a.csv", "label,text\na,\n" + good + "b,one,two\n")
    data = load_text(file, TextOptions(bad_lines="skip"))
    assert len(data.train.texts) + len(data.test.texts) == 10
    assert "2 texts are skipped, the first at" in capsys.readouterr().err


def test_a_text_beyond_reason_is_cut_and_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = "label,text\n" + "".join(f"{'ab'[n % 2]},{'long ' * 40_000}\n" for n in range(6))
    data = load_text(write(tmp_path / "a.csv", lines), TextOptions())
    assert max(map(len, data.train.texts)) == 100_000
    assert "6 texts have more than 100000 characters" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", "label,text\na,one\na,two\na,three\n", "one class, 'a'"),
        ("a.csv", "label,text\na,one\na,two\nb,three\n", "class 'b' has 0 training texts"),
        ("a.csv", "label,text\n", "holds no texts"),
        ("a.csv", "", "holds no texts"),
        ("a.csv", "class,body\na,one\n", "no column 'label' among class, body"),
        ("a.xml", "<x/>", r"must end in one of \.csv"),
    ],
)
def test_files_that_cannot_be_learnt_from_are_refused(tmp_path: Path, name: str, content: str, reason: str) -> None:
    with pytest.raises(MygoEdgeError, match=reason):
        load_text(write(tmp_path / name, content), TextOptions())


def test_folders_that_cannot_be_learnt_from_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MygoEdgeError, match="does not exist"):
        load_text(tmp_path / "nothing", TextOptions())
    with pytest.raises(MygoEdgeError, match="neither train and test files"):
        load_text(tmp_path, TextOptions())
    (tmp_path / "a").mkdir()
    with pytest.raises(MygoEdgeError, match=r"no \.txt file"):
        load_text(tmp_path, TextOptions())


def test_a_tsv_may_have_quotes_that_are_signs_of_the_text(tmp_path: Path) -> None:
    lines = "label\ttext\n" + "".join(f'{"ab"[n % 2]}\t"Yes" she said {n}\n' for n in range(10))
    data = load_text(write(tmp_path / "a.tsv", lines), TextOptions())
    assert '"Yes" she said 3' in data.train.texts + data.test.texts


def test_ag_news_is_cut_six_thousand_to_sixteen_hundred_in_proportion(tmp_path: Path) -> None:
    lines = "".join(csv_line((str(n % 4 + 1), f"title {n}", "a\\b")) for n in range(7600))
    write(tmp_path / "ag_news_csv" / "test.csv", lines)
    write(tmp_path / "ag_news_csv" / "classes.txt", "World\nSports\nBusiness\nSci/Tech\n")
    data = load_ag_news(tmp_path)
    assert data.name == AG_NEWS
    assert data.classes == ["World", "Sports", "Business", "Sci/Tech"]
    assert (len(data.train.texts), len(data.test.texts)) == (6000, 1600)
    assert all(text.endswith("a b") for text in data.train.texts)
    with pytest.raises(MygoEdgeError, match=r"test\.csv is missing"):
        load_ag_news(tmp_path / "elsewhere")
