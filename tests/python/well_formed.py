"""Reads files as XML and prints their elements with counts; a file that is not well-formed is an error.

    well_formed.py report.html
"""

import collections
import json
import sys
import xml.etree.ElementTree


def elements(path):
    tree = xml.etree.ElementTree.parse(path)
    return collections.Counter(element.tag.rpartition("}")[2] for element in tree.iter())


if __name__ == "__main__":
    print(json.dumps(sum((elements(path) for path in sys.argv[1:]), collections.Counter())))
