"""`gin.parse_config("...")`: bindings in strings."""

import libcst as cst

from keras_rmsprop.migration.source import configurations, rewrites

_PARSERS = ("parse_config", "parse_config_files_and_bindings", "bind_parameter")


@rewrites.handles(cst.Call)
def rewrite(call, file):
    if not file.may_be_named(call.func, _PARSERS):
        return
    names = {name.rpartition(".")[0] for name in file.qualified(call.func)}
    if names.isdisjoint(("gin", "gin.config")):
        return
    for argument in call.args:
        for string in file.strings_in(argument):
            _rewrite_string(string, file)


def _rewrite_string(string, file):
    # No name holds what a string escapes, so its code is changed as it is written.
    begin = len(string.prefix) + len(string.quote)
    before = string.value[begin : -len(string.quote)]
    after, found = configurations.rewritten(before, file.options)
    if after != before:
        value = string.value[:begin] + after + string.quote
        file.edits[string] = lambda updated: updated.with_changes(value=value)
    for _, kind, message in found:
        file.report(string, kind, message)
