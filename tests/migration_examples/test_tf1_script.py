"""The moved script comes to the loss that TensorFlow 1.15 printed."""

import ast
import pathlib
import runpy

_ROOT = pathlib.Path(__file__).parents[2]
_EXAMPLE = _ROOT / "migration_examples" / "tf1_script"


def test_keras_comes_to_the_loss_of_tensorflow_1_15():
    main = runpy.run_path(str(_EXAMPLE / "train_keras.py"))["main"]
    assert f"{main():.6f}" == "0.168353"


def test_the_guide_shows_the_script_as_it_is():
    code = (_EXAMPLE / "train.py").read_text("utf-8").partition('"""\n\n')[2]
    assert ast.parse(code)
    assert f"```python\n{code}```" in (_ROOT / "docs" / "tf1.md").read_text("utf-8")
