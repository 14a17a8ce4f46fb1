#!/usr/bin/env python3
"""Turns the file of bounce rules into one C file, so that the program knows them without the installed copy: embed_rules.py OUTPUT INPUT"""
import sys


def literal(line):
    # Octal for what is not ASCII: unlike \x it ends after three digits.
    text = "".join(chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else "\\%03o" % b for b in line.encode())
    return '    "%s\\n"\n' % text


def main():
    output, source = sys.argv[1:]
    with open(source, encoding="utf-8") as lines:
        body = "".join(literal(line.rstrip("\n")) for line in lines)
    with open(output, "w", encoding="utf-8") as target:
        target.write('#include "campaign/bounce/rules.h"\n\nconst char bounce_rules_builtin[] =\n%s    ;\n' % body)


main()
