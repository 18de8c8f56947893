"""The run-time type checker of the tests: beartype. An int is a float to it, as in PEP 484."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
