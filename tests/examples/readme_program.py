"""Prints a program of README.md, changed so that a test can run it: another broker, and handlers that fail."""

import re
import sys

readme, name = sys.argv[1:]
with open(readme, encoding="utf-8") as text:
    source = re.search(rf"<!-- program: {name} -->\n```cpp\n(.*?)^```$", text.read(), re.DOTALL | re.MULTILINE)[1]
for here, there in (('{"amqp://guest:guest@localhost/"}', "{std::getenv(\"AMQP_URL\")}"),
                    ("std::cout << delivery.body() << std::endl;", "throw std::runtime_error(std::string(delivery.body()));")):
    if here in source:
        source = source.replace(here, there)
print("#include <cstdlib>\n#include <stdexcept>\n" + source, end="")
