"""The HTTP side: the API, the metrics, the probes and the status page (product.md, sections 5 and 6).

`server.WebServer` puts it together; `app.py` starts it. A request is read by `queries` or `bodies`, let in
by `auth`, answered by one of the routes (`status`, `inventory`, `sd`, `placements`, `history`, `probes`,
`scrape`, `page`) in the forms of `schemas`, made by `shapes` and `answers`. `operations` says what each path
takes and answers, `openapi` tells whoever asks.
"""
