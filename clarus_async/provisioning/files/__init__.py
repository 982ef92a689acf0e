"""Files: the records of a run, from CSV, JSON Lines or a JSON array.

# Files

Files are UTF-8, and a record may be up to 1 MiB long. The format is told from the file's name or, without a suffix that
is known, from its beginning. `clarus provision -` reads standard input.

**CSV** has a header row. Its cells are text, but for the columns whose attribute is not: `is_active` is `true` or
`false`, and `account_id` and `warehouse_id` are digits. An empty cell is left out. A dotted header nests:

```csv
name,integration_type,is_active,external_system_reference1,configuration.shop_domain
Shopify Store,shopify,true,shop-1,mystore.myshopify.com
```

**JSON Lines** is one object a line; a JSON array, and objects over several lines, are read as well:

```json
{"name": "Books", "integration_type": "brightpearl", "configuration": {"account": "books", "retries": 3}}
```

# What is refused

A file is checked to its end before anything is sent. If there are bad rows, all of them are listed by line and field,
and nothing is sent. A pipe is checked as far as it has come: bad rows in its first 8 MiB, or before it pauses, stop
everything; later ones are listed as they come, and the other records are sent.

What could not be sent as it is written is refused rather than changed: a key that is twice in one JSON object, an
integer beyond 64 bits, or a number with more digits than a float can hold. Excel workbooks, archives, other encodings
and other delimiters are recognised and named, with the next step.

Text is sent as it stands, a formula such as `=cmd()` included: neutralise it where you make a spreadsheet of the
results.
"""

__all__: list[str] = []
