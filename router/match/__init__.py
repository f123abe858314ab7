"""Which events: declarative patterns over an event's fields, and all of a config's patterns compiled together.

condition = parse({"type": "dm:Deliver:Fail", "class": ["soft", "rate"]}, decoder)
condition.matches(event)

routes = Routes([Route(accounts=("*@shop.example.com",), condition=condition)], decoder)
routes.wanted(event)            # the indices of the routes that want it
"""

from router.match.condition import ALWAYS, NEVER, Condition, text_of
from router.match.pattern import BadPattern, Mistake, Path, parse
from router.match.routes import Route, Routes
from router.match.vocabulary import Vocabulary, names_in
from router.match.why import why_not

__all__ = [
    "ALWAYS",
    "NEVER",
    "BadPattern",
    "Condition",
    "Mistake",
    "Path",
    "Route",
    "Routes",
    "Vocabulary",
    "names_in",
    "parse",
    "text_of",
    "why_not",
]
