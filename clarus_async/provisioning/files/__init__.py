r"""Files: CSV, JSON Lines, a JSON array or an Excel workbook, as people and their tools write them.

# Files

What a file is, is found out, and said in one line where it is not plain CSV or JSON in UTF-8:

| what | how it is found | option |
|---|---|---|
| format | the suffix `.csv`, `.jsonl`, `.ndjson`, else the first character: `{` or `[` is JSON | `--format` |
| delimiter | Excel's `sep=;` line, else which of comma, semicolon, tab and bar parts most names | `--delimiter` |
| encoding | a byte order mark; UTF-8, if a line of it is; else the code page of the languages it is in | `--encoding` |
| gzip | by its content, also of several members | |
| `.xlsx` | by its content: the first sheet that is shown, up to 4 million cells and 512 MiB decompressed | |

`clarus check FILE` does that, and names every problem by line and column, without a server. A record may be up to 1 MiB
long. `clarus provision -` reads standard input.

# Columns

The first row names the columns. Case, blanks, hyphens, underscores and asterisks in a name do not matter; `--map "Shop
name=name"` says what another name stands for, and `--ignore-columns` leaves columns out. A column without a name is
left out, if it is empty. A dotted name nests, and a suffix says what is nested: `:text` (as without one), `:int`,
`:number`, `:bool` or `:json`; a column `configuration` holds a JSON object:

```csv
name,integration_type,is_active,external_system_reference1,configuration.shop_domain,configuration.port:int
Shopify Store,shopify,true,shop-1,mystore.myshopify.com,8080
```

Text is sent as it stands, a formula such as `=cmd()` included; of an apostrophe before a formula, as `--output csv`
writes it, only the formula. An empty cell is left out, and a row of empty cells is
skipped. Cells of other types, with blanks around them or not:

| type | what is read |
|---|---|
| `bool` | true, yes, 1, on, WAHR, ja, VRAI, oui, VERDADERO, sí; false, no, 0, off, FALSCH, nein, FAUX, non, FALSO |
| `int` | `1234`, `-1`, `1234.0`, `1234,00`, `1 234`, `1'234`, `1,234,567`, `1.234.567`; not `1,234` |
| `number` | as JSON writes it, with a decimal point |
| `json` | as below |
| a key | a name or a reference; not `4.00717E+12`, of which a spreadsheet has dropped digits |
| in a workbook | 123.0 is `123`, a date is `2024-01-31`; not a number of 16 digits, an error, or merged cells |

**JSON Lines** is one object a line; a JSON array, and objects over several lines, are read as well. Names are taken as
they are written:

```json
{"name": "Books", "integration_type": "brightpearl", "configuration": {"account": "books", "retries": 3}}
```

In a file of changes, each row has an `id`; an empty cell leaves an attribute as it is, and `\N` (`null` in JSON)
clears it.

# What is refused

A file is checked to its end before anything is sent. If there are bad rows, the first fifty problems are listed, the
others counted by kind, and nothing is sent. A row with the key of an earlier one is a bad row. With `--rejects PATH`,
the good rows are sent, and the others, with those that fail, are written to PATH as they stood, below the same header,
with the reason before them (`clarus_reason`, which is left out when they are read again). A workbook becomes CSV. PATH
may hold secrets, and only its owner may read it. What can't be split into rows is refused all the same.

A pipe is checked as far as it has come: bad rows in its first 8 MiB, or before it pauses, stop everything; later ones
are listed as they come, and the other records are sent.

What could not be sent as it is written is refused rather than changed: a key that is twice in one JSON object, an
integer beyond 64 bits, or a number with more digits than a float can hold. Other archives, `.xls` and `.ods` are
recognised and named, with the next step, as is a file that decompresses to more than 200 times its size.

Machines of a fleet read a file by its parts: it must be in UTF-8, and neither compressed nor a workbook.
"""

__all__: list[str] = []
