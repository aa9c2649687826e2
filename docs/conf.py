"""Sphinx's settings. `make docs` builds the site; `docs/build.py` says how."""

import sys
from copy import deepcopy
from functools import cache
from pathlib import Path

from myst_parser.mdit_to_docutils import base

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import furo

import losskit

# each translated message is parsed as a document of its own, 9,000 in all, and listing docutils' options anew took half of that
settings = cache(base.get_default_settings)
base.get_default_settings = lambda *components: deepcopy(settings(*components))
project, author = "losskit", "losskit's authors"
version = release = losskit.__version__
copyright = "the losskit authors, Apache License 2.0"
extensions = ["myst_parser", "sphinx_design", "sphinx_copybutton", "mathml", "typography", "searching"]
myst_enable_extensions = ["dollarmath", "deflist", "colon_fence", "attrs_inline", "attrs_block"]
myst_heading_anchors = 3
# touch:view=boxes leads to a view of the interactive page, from a page that stands in a folder of the site, as those of losses and guides do
myst_url_schemes = {"http": None, "https": None, "mailto": None, "touch": "../../touch/index.html#{{path}}"}
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "touch", "locale"]
html_theme = "furo"
html_title = "losskit"
html_static_path = ["_static"]
templates_path = [str(Path(__file__).parent / "_templates"), str(Path(furo.__file__).parent / "theme" / "furo")]  # the theme's words are translated as well
html_sidebars = {"**": [f"sidebar/{part}.html" for part in ("brand", "search", "language", "scroll-start", "navigation", "scroll-end")]}
html_css_files, html_js_files = ["site.css"], ["site.js"]
html_search_scorer = str(Path(__file__).parent / "_ext" / "scorer.js")
html_copy_source = html_show_sourcelink = False
html_math_renderer = "mathml"
html_theme_options = {"navigation_with_keys": True}
locale_dirs = [str(Path(__file__).parent / "locale")]
gettext_compact = True
gettext_uuid = False
gettext_additional_targets = ["image"]
gettext_location = False
figure_language_filename = "{path}{basename}.{language}{ext}"
copybutton_prompt_text, copybutton_prompt_is_regexp = r">>> |\.\.\. |\$ ", True
pygments_style, pygments_dark_style = "a11y-light", "a11y-dark"
nitpicky = True
suppress_warnings: list[str] = []
