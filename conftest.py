"""What holds for every run of the tests; the fixtures are in tests/."""

pytest_plugins = ("tests.plugin_ci",)
