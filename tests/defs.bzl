"""How tests run."""

load("@rules_python//python:defs.bzl", "py_test")

def pytest_test(name, src, data = [], deps = [], **kwargs):
    """A test file that pytest runs; a py_test alone would only import it.

    Args:
      name: The target's name.
      src: The file.
      data: What it reads.
      deps: What it imports.
      **kwargs: Further attributes of py_test.
    """
    py_test(
        name = name,
        srcs = [src, "//tests:pytest_main.py"],
        main = "//tests:pytest_main.py",
        args = ["$(rootpath " + src + ")"],
        data = ["//:pyproject.toml"] + data,
        deps = ["//tests:conftest"] + deps,
        **kwargs
    )
