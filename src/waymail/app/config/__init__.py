"""The configuration: `load(path)` reads and checks a file, `development(directory)` does without one."""

from waymail.app.config.development import development
from waymail.app.config.load import load, parse
from waymail.app.config.problems import ConfigError, Problem
from waymail.app.config.schema import Config, Source
from waymail.app.config.values import Endpoint

__all__ = ["Config", "ConfigError", "Endpoint", "Problem", "Source", "development", "load", "parse"]
