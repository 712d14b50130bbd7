"""How the site is built: `sphinx-build -W docs build/site`."""

import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
_ROOT = pathlib.Path(__file__).parents[1]
sys.path[:0] = [str(_ROOT), str(_ROOT / "docs" / "_extensions")]

project = "keras-rmsprop"
author = "The keras-rmsprop authors"
project_copyright = "the keras-rmsprop authors, Apache-2.0"
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_nb",
    "sphinx_copybutton",
    "sphinx_design",
    "command_line",
    "docstrings",
    "elsewhere",
]
exclude_patterns = ["_extensions", "pictures", "build"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
# The notebooks keep their outputs; a test runs them and compares.
nb_execution_mode = "off"
nb_merge_streams = True

# A name in single backticks is a link where it is one of ours, Keras' or TensorFlow's.
default_role = "obj"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_typehints = "signature"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = "keras-rmsprop"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_show_sphinx = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True
# The benchmark's own tables come with small headings.
suppress_warnings = ["myst.header"]
