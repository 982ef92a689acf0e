"""What the sources and the documents cite is there."""

import re
from itertools import chain

import pytest

import clarus_async
from tests.support.readme import ROOT

SERVER = (ROOT / "clarus_async" / "CLARUS_API.md").read_text()
SECTIONS = set(re.findall(r"^## (\d+)\.", SERVER, re.MULTILINE))
DOCUMENTS = ["README.md", "CHANGELOG.md", ".github/CONTRIBUTING.md", ".github/SECURITY.md",
             "clarus_async/ARCHITECTURE.md", "clarus_async/CLARUS_API.md"]  # fmt: skip
# Where a document that is cited by its name alone may be.
FOLDERS = [ROOT, ROOT / "clarus_async", ROOT / "clarus_async" / "cli", ROOT / ".github"]


def sources():
    folders = (ROOT / name for name in ("clarus_async", "tests", "benchmarks"))
    paths = chain.from_iterable(folder.rglob("*") for folder in folders)
    return [path for path in paths if path.suffix in {".py", ".md", ".js", ".rb"} and "node_modules" not in path.parts]


def slug(heading):
    """GitHub's anchor for a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_a_cited_section_is_there():
    cited = {}
    for path in sources():
        for reference in re.findall(r"CLARUS_API\.md(?:``)?,? (?:§|section )[§\d, and]*", path.read_text()):
            for number in re.findall(r"\d+", reference):
                cited.setdefault(number, path)
    assert len(cited) >= 4
    assert {number: path for number, path in cited.items() if number not in SECTIONS} == {}


def test_a_cited_document_is_there():
    for path in [*sources(), *(ROOT / name for name in DOCUMENTS)]:
        for name in re.findall(r"(?<![\w/.-])[\w-]+\.md\b", path.read_text()):
            assert any((folder / name).is_file() for folder in FOLDERS), f"{path} cites {name}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_link_leads_somewhere(document):
    path = ROOT / document
    text = path.read_text()
    anchors = {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in anchors, target
        elif not re.match(r"https?:|mailto:", target):
            assert (path.parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_path_that_is_named_is_there(document):
    if document == "CHANGELOG.md":
        return  # it names what was there
    for name in re.findall(
        r"`((?:clarus_async|tests|benchmarks|\.ci|\.github)/[\w./-]*)`", (ROOT / document).read_text()
    ):
        assert (ROOT / name).exists(), name


def test_the_architecture_names_every_room_and_no_other_path():
    package = ROOT / "clarus_async"
    text = (package / "ARCHITECTURE.md").read_text()
    picture = re.search(r"```mermaid\n(.*?)```", text, re.DOTALL)[1]
    rooms = {path.parent.name for path in package.glob("*/__init__.py")}
    assert rooms == set(re.findall(r"\[\"(\w+)/ ", picture))
    for name in re.findall(r"`(\w+/[\w./]*|\w+\.py)`", text):
        assert any((folder / name).exists() for folder in (package, ROOT)), name


def test_the_changelog_begins_with_this_version():
    changes = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^## \[(.+?)\]", changes, re.MULTILINE)[1] == clarus_async.__version__
