"""Pages of HTML as tests read them."""

from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
from PIL import Image


class Page(HTMLParser):
    """Parts of a page: text of each element of a class, pictures with their words, and all elements."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = [""]
        self.links: list[str] = []
        self.given: set[str] = set()  # names of attributes
        self.pictures: list[tuple[np.ndarray, str]] = []
        self.rows: list[list[str]] = []
        self.text: list[tuple[str, str]] = []  # element, what it says
        self.feed(text)
        self.close()
        assert self.open == [""]

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.given |= set(given)
        self.tags.append(tag)
        self.open += [tag] if tag not in ("img", "meta") else []
        self.links += [given[name] for name in ("src", "href", "srcset", "xlink:href") if given.get(name)]
        if tag == "img":
            data = b64decode(given["src"].partition("base64,")[2])
            self.pictures.append((np.asarray(Image.open(BytesIO(data))), given["alt"]))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        tag = self.open[-1]
        self.text.append((tag, data))
        if tag in ("td", "th"):
            self.rows[-1][-1] += data

    def said(self, *tags: str) -> list[str]:
        return [words for tag, words in self.text if tag in tags]
