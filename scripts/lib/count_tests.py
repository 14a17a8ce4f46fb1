#!/usr/bin/python3
"""Counts test cases one by one: "pass NAME" or "fail NAME: reason", a line each.

usage: count_tests.py meson|junit LABEL FILE STATUS

meson: FILE is meson-logs/testlog.json, whose programs are cmocka's and wrote TAP. A program that ended badly without a failed case, that ran fewer
cases than it planned, or that said nothing is a failed case itself. junit: FILE is pytest's XML. STATUS is the exit status of the
runner; one that is not 0 while nothing counts as failed (a crash, a timeout) is a failed case too.
"""
import json
import re
import sys
import xml.etree.ElementTree as ElementTree

CASE = re.compile(r'^(not ok|ok) \d+(?: - (.*))?$')
PLAN = re.compile(r'^1\.\.(\d+)$')


def one_line(text):
    return ' '.join(text.split())[:300]


def of_program(test):
    """(name, reason or None) of each case of one program."""
    cases = []
    planned = 0
    for line in test.get('stdout', '').splitlines():
        plan = PLAN.match(line.strip())
        case = CASE.match(line.strip())
        if plan:
            planned += int(plan.group(1))
        elif case and ' # SKIP' not in line:
            cases.append((case.group(2) or '?', 'not ok' if case.group(1) == 'not ok' else None))
        elif case:
            planned -= 1
    failures = sum(1 for _, reason in cases if reason)
    if test.get('returncode') != 0 and failures == 0:
        last = one_line((test.get('stderr') or '')[-300:])
        cases.append(('(program)', f'{test.get("result")}, exit status {test.get("returncode")} {last}'))
    elif len(cases) < planned:
        cases.append(('(program)', f'ran {len(cases)} of {planned} cases'))
    elif not cases and planned == 0 and 'SKIP' not in test.get('result', ''):
        cases.append(('(program)', 'printed no case'))
    return cases


def of_meson(path):
    with open(path, encoding='utf-8', errors='replace') as file:
        for line in file:
            test = json.loads(line)
            for name, reason in of_program(test):
                yield f'{test["name"]}/{name}', reason


def of_junit(path):
    for case in ElementTree.parse(path).getroot().iter('testcase'):
        name = f'{case.get("classname")}/{case.get("name")}'
        bad = [child for child in case if child.tag in ('failure', 'error')]
        if bad:
            yield name, bad[0].get('message') or bad[0].tag
        elif not any(child.tag == 'skipped' for child in case):
            yield name, None


def main():
    kind, label, path, status = sys.argv[1:]
    readers = {'meson': of_meson, 'junit': of_junit}
    failures = 0
    try:
        for name, reason in readers[kind](path):
            failures += 1 if reason else 0
            print(f'fail {label}: {one_line(name)}: {one_line(reason)}' if reason else f'pass {label}: {one_line(name)}')
    except (OSError, ValueError, ElementTree.ParseError) as error:
        failures += 1
        print(f'fail {label}: the results of {kind} cannot be read: {one_line(str(error))}')
    if status != '0' and failures == 0:
        print(f'fail {label}: {kind} ended with status {status}' + (' (out of time)' if status == '124' else ''))


if __name__ == '__main__':
    main()
