"""One self-contained web page of runs: `sources` reads them, `charts` draws, `page` puts the page together."""
