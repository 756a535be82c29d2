"""Whether a page is whole, fetches nothing and runs nothing."""
from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

VOID = {"meta", "br", "img", "link", "hr", "input"}


class Balance(HTMLParser):
    """Fails on an end tag that closes nothing or the wrong thing; collects every tag name."""

    def __init__(self):
        super().__init__()
        self.open, self.names = [], set()

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, (tag, self.getpos())


def check(page: str) -> None:
    parser = Balance()
    parser.feed(page)
    assert parser.open == [] and not parser.names & {"script", "img", "link", "iframe", "object"}
    assert not re.search(r"(?:src|href)=|url\(|@import",
                         re.sub(r"<pre>.*?</pre>|&lt;.*?&gt;", "", page, flags=re.S))
    for svg in re.findall(r"<svg.*?</svg>", page, re.S):
        ET.fromstring(svg)
