"""What a person's YAML declares: words as they are written, labels that read as themselves."""
import pytest

from tagpr_lite.config import UserError
from tagpr_lite.lamp.declaration import declarations, held_out


def declare(folder, said, encoding="utf-8"):
    path = folder / "task.yaml"
    path.write_text(f"name: mood\nrecords: r.jsonl\n{said}\n", encoding=encoding)
    (task, declaration), = declarations(path)
    return task, declaration


@pytest.mark.parametrize("written, labels", [
    ("[yes, no]", ("yes", "no")), ("[on, off]", ("on", "off")), ("[01, 1e3]", ("01", "1e3")),
    ("[null, ~]", ("null", "~")), ("[true, True]", ("true", "True")),
    ("[2020-01-01, 12:30]", ("2020-01-01", "12:30")),
    ("[1.0, .5]", ("1.0", ".5")), ("['a, b', =]", ("a, b", "=")), ("[0x1F, 1_000]", ("0x1F", "1_000"))])
def test_labels_are_the_words_as_written(tmp_path, written, labels):
    task, _ = declare(tmp_path, f"kind: choice\nlabels: {written}")
    assert task.labels == labels and tuple(map(task.parse_answer, labels)) == labels


def test_so_are_titles_nouns_and_keys(tmp_path):
    task, _ = declare(tmp_path, "kind: text\ntitle: 1984\nnoun: no\ninstruction: yes\n"
                                "item: {text: on, label: 5}")
    assert (task.title, task.noun, task.instruction, task.text_key, task.label_key) == (
        "1984", "no", "yes", "on", "5")


def test_a_null_is_as_if_its_key_were_absent(tmp_path):
    plain, _ = declare(tmp_path, "kind: rating")
    nulls, declaration = declare(tmp_path, "kind: rating\ntitle:\nscale: ~\nnoun: null\nheldout:\n"
                                           "item: {label: ~}")
    assert nulls == plain and held_out(declaration, tmp_path) == 0.25


def test_numbers_of_a_scale_may_have_a_point(tmp_path):
    assert declare(tmp_path, "kind: rating\nscale: [0.0, 3.0]")[0].labels == ("0", "1", "2", "3")


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path):
    assert declare(tmp_path, "kind: rating", encoding="utf-8-sig")[0].name == "mood"


@pytest.mark.parametrize("said, fault", [
    ("kind: choice\nlabels: ['<think>', b]", "'<think>' would be read as None"),
    ("kind: choice\nlabels: ['a</think>b', b]", "would be read as 'b'"),
    ("kind: choice\nlabels: ['', b]", "each should be a word"),
    ("kind: choice\nlabels: [' a', b]", "blanks around"),
    ("kind: choice\nlabels: [[a], b]", "each should be a word"), ("kind: choice\nlabels: a", "wrong type"),
    ("kind: rating\nscale: [1, 4.5]", "scale"), ("kind: rating\nscale: [a, 5]", "scale"),
    ("kind: rating\nscale: [1, nan]", "scale"), ("kind: text\nheldout: .nan", "wrong type"),
    ("kind: text\nheldout: -0.5", "between 0 and 1"), ("kind: text\ntitle: &a [*a]", "as YAML"),
    ('kind: text\nrecords: "a\\0b"', "no name of a file"), ("kind: text\ntitle: " + "[" * 3000, "as YAML"),
    ("kind: text\nname: 2026-02-30", "letters, digits"), ("kind: !!python/object:x.y {}", "wrong type")])
def test_what_cannot_be_is_one_line(tmp_path, said, fault):
    with pytest.raises(UserError, match=fault) as error:
        declare(tmp_path, said)
    assert len(str(error.value)) < 400 and str(error.value).isprintable()


def test_a_file_that_is_not_utf_8_is_one_line(tmp_path):
    with pytest.raises(UserError, match="as YAML"):
        declare(tmp_path, "title: ä\nkind: text", encoding="latin-1")
