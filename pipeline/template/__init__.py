"""The letter's template: letter.docx is read once, checked, compiled, and stamped for each letter.

Whoever edits the file in Word is trusted with words and looks, not with code: a tag may print a
field, choose with `if` and repeat with `for`, and nothing else. Whatever is wrong with the file is
said in Word's terms when it is compiled, before any letter is made.

The dialect is docxtpl's ({{ }}, {% %}, {%p %}, {%tr %}, {%r %}), and docxtpl's own code turns the
document into a Jinja template. It does so here once; docxtpl itself does it again for every letter,
opening and saving the whole package each time, which is a hundred times slower.
"""

from pipeline.template.compiled import CompiledTemplate, compile_template
from pipeline.template.file import load_template, read_template

__all__ = ["CompiledTemplate", "compile_template", "load_template", "read_template"]
