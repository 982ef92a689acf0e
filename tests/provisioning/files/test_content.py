# ruff: noqa: RUF001
"""Encodings as spreadsheets write them, and what is compressed."""

from __future__ import annotations

import io

import pytest

from clarus_async.errors import InvalidInputError
from clarus_async.provisioning.files.content import find_encoding
from clarus_async.provisioning.files.numbered import Found, UnreadableError
from clarus_async.provisioning.files.options import ReadOptions
from clarus_async.provisioning.files.reader import read_file
from clarus_async.provisioning.files.target import new_records
from clarus_async.resources.integrations import INTEGRATIONS

NAMES = {
    "de": ("cp1252", "Müller Bäckerei\nGröße Straße\nKöln Süd\nJürgen Weiß\nÜber Öl"),
    "de, a word": ("cp1252", "Müller"),
    "fr": ("cp1252", "Café de la Gare\nÉlysée\nFrançois & fils\nNoël à Paris\nHôtel Île\nL’Été"),
    "es": ("cp1252", "El Niño\nCorazón Español\nMálaga ¿Qué?\nLogroño"),
    "pt": ("cp1252", "São João\nCamões\nOpções\nAvó"),
    "sv": ("cp1252", "Malmö Åkeri\nÖstersund\nGävle"),
    "is": ("cp1252", "Þórður\nReykjavík\nSeyðisfjörður"),
    "signs": ("cp1252", "Shop – 10 €\n„Laden“"),
    "pl": ("cp1250", "Łódź Sklep\nKraków\nWrocław Główny\nŻółta Gęś\nGdańsk"),
    "pl, a word": ("cp1250", "Łódź"),
    "cs": ("cp1250", "Dvořák Příbram\nČeské Budějovice\nPlzeň\nHradec Králové\nÚstí"),
    "hu": ("cp1250", "Győr Bolt\nSzékesfehérvár\nŐrség"),
    "ru": ("cp1251", "Магазин Москва\nСанкт-Петербург\nКНИГИ\nЁлка"),
    "tr": ("cp1254", "İstanbul Mağaza\nŞişli\nGüneş Kırtasiye\nIğdır"),
    "tr, words": ("cp1254", "Beşiktaş Çarşı"),
    "el": ("cp1253", "Αθήνα Κατάστημα\nΘεσσαλονίκη"),
    "a Mac": ("mac-roman", "Müller Bäckerei\nGröße Straße\nCafé\nKöln"),
    "de, with signs": ("cp1252", "Müller\nGröße\nRegal 80×200\nStraße 5 ½\n£ 5"),
    "lt": ("cp1257", "Šiauliai\nŽemaitė"),
    "UTF-8": ("utf-8", "Müller\n東京"),
}


@pytest.mark.parametrize(("encoding", "names"), NAMES.values(), ids=NAMES)
def test_names_are_read_as_they_were_written(encoding, names):
    content = ("name,integration_type\n" + "".join(f"{name},t\n" for name in names.split("\n"))).encode(encoding)
    found = Found()
    rows = read_file(lambda: io.BufferedReader(io.BytesIO(content)), new_records(INTEGRATIONS), ReadOptions(), found)

    assert [row.new.name for row in rows] == names.split("\n")
    assert found.what == ("" if encoding == "utf-8" else f"CSV, in {encoding}")


@pytest.mark.parametrize(
    ("encoding", "names", "said"),
    [
        ("cp932", "東京ショップ\n大阪の店\nカフェ", "is not UTF-8, and perhaps cp932"),
        ("gb18030", "北京商店\n上海", "is not UTF-8, and perhaps "),
        ("cp850", "Müller\nBäckerei\nKöln Straße", "may be in mac-roman or cp850"),
        ("cp1254", "Şişli, Kadıköy", "may be in cp1252 or cp1254"),
        ("cp1250", "Řeka", "may be in cp1252 or cp1250"),
    ],
)
def test_what_may_be_read_in_several_ways_is_refused(encoding, names, said):
    with pytest.raises(UnreadableError, match=f"{said}.*with --encoding"):
        find_encoding(io.BufferedReader(io.BytesIO(names.encode(encoding))))


def test_what_is_partly_utf8_is_not_guessed_at():
    assert find_encoding(io.BufferedReader(io.BytesIO("Käse\n".encode() + b"K\xe4se\n" * 1000))) == "utf-8"


class Args:
    def __init__(self, **given):
        self.__dict__.update(given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"encoding": "cp125"}, "--encoding: no encoding is called cp125; did you mean cp125"),
        ({"encoding": "rot13"}, "--encoding: no encoding is called rot13"),
        ({"delimiter": "ab"}, "--delimiter: must be one character, or one of comma, semicolon, tab, bar"),
        ({"delimiter": '"'}, "--delimiter: must be one character"),
        ({"map": ("name",)}, '--map: must be HEADER=ATTRIBUTE, as in --map "Shop name=name"'),
        ({"map": ("a=name", "a=provider")}, "--map: a is given twice"),
    ],
)
def test_options_that_can_not_be_used_are_named(given, said):
    with pytest.raises(InvalidInputError) as caught:
        ReadOptions.of(Args(**given))

    assert str(caught.value).startswith(said)


def test_options_are_read_as_they_are_given():
    options = ReadOptions.of(
        Args(delimiter="semicolon", encoding="CP1252", map=("a=b=name",), ignore_columns=("x, y", "z"), format="csv")
    )

    assert (options.delimiter, options.encoding, dict(options.map)) == (";", "cp1252", {"a=b": "name"})
    assert options.ignore == ("x", "y", "z")
