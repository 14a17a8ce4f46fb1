#!/usr/bin/env python3
"""Turns a text file into a C file with one string: embed_text.py OUTPUT NAME INPUT"""
import sys


def literal(line):
    # Octal for what is not ASCII: unlike \\x it ends after three digits.
    text = "".join(chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else "\\%03o" % b for b in line.encode())
    return '    "%s\\n"\n' % text


def main():
    output, name, source = sys.argv[1:]
    with open(source, encoding="utf-8") as lines:
        body = "".join(literal(line.rstrip("\n")) for line in lines)
    with open(output, "w", encoding="utf-8") as target:
        target.write("extern const char %s[];\nconst char %s[] =\n%s    ;\n" % (name, name, body))


main()
