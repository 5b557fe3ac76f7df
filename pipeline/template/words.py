"""The words of a stamped letter, paragraph by paragraph, without converting it."""

import io
import zipfile
from collections.abc import Iterator

from lxml import etree

from pipeline.template.vocabulary import FALLBACK, W


def paragraphs(docx: bytes) -> list[str]:
    """What the body of a docx says, in the order of its paragraphs; empty ones are left out.

    Words in a text box are a paragraph of their own. `docx` is one that was stamped here: nothing
    in it is out of bounds.
    """
    with zipfile.ZipFile(io.BytesIO(docx)) as package:
        body = etree.fromstring(package.read("word/document.xml"))
    said = (" ".join("".join(_own(one)).split()) for one in body.iter(f"{W}p"))
    return [text for text in said if text]


def _own(paragraph: etree._Element) -> Iterator[str]:
    """The texts of one paragraph, without those of paragraphs within it."""
    if next(paragraph.iterancestors(FALLBACK), None) is not None:
        return  # what old programs show in the place of a text box: said there already
    for one in paragraph.iter(f"{W}t", f"{W}tab", f"{W}br"):
        if next(one.iterancestors(f"{W}p"), None) is paragraph:
            yield (one.text or "") if one.tag == f"{W}t" else " "
