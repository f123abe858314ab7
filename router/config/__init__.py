"""From a YAML file to the frozen structs that the router runs by, or to all of its mistakes.

`nodes` reads the text, `walk` turns it into the structs of `model` with the help of `scalars` and `specials`,
`plugins` finds the classes, `checks` looks at the whole, and `problem` collects what is wrong.
"""

from router.config.loading import load, loads
from router.config.model import Admin, Config, Delivery, Department, Subscription
from router.config.problem import BadConfig, Problem

__all__ = ["Admin", "BadConfig", "Config", "Delivery", "Department", "Problem", "Subscription", "load", "loads"]
