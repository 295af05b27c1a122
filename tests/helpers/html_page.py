"""An HTML page taken apart, for tests of what it shows."""

from html.parser import HTMLParser


class Page(HTMLParser):
    """The tags, the text and the addresses of a page; every tag that opens must close."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.addresses, self.open = [], '', [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ('src', 'href', 'xlink:href')]
        if tag not in ('meta', 'img', 'br', 'link'):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data
