"""`gin.parse_config("...")`: bindings in strings."""

import libcst as cst

from keras_rmsprop.migration.source import configurations, rewrites

_PARSERS = (
    "gin.parse_config",
    "gin.parse_config_files_and_bindings",
    "gin.bind_parameter",
)


@rewrites.handles(cst.Call)
def rewrite(call, file):
    names = file.qualified(call.func)
    if not any(name.replace("gin.config.", "gin.") in _PARSERS for name in names):
        return
    for argument in call.args:
        for string in file.strings_in(argument):
            _rewrite_string(string, file)


def _rewrite_string(string, file):
    # No name holds what a string escapes, so its code is changed as it is written.
    value, found = configurations.rewritten(string.value, file.options)
    if value != string.value:
        file.edits[string] = lambda updated: updated.with_changes(value=value)
    for kind, message in found:
        file.report(string, kind, message)
