#!/usr/bin/python3
"""Writes the demo's recipients as CSV: recipients.py COUNT > people.csv

Some forty domains, a few of them large, as in any real list; names and cities from many countries. The file is the same on every run. Behind the recipients come
a few rows as every export has them: two repeated people, and three rows whose address is none.
"""
import csv
import random
import sys

FIRST = ["Anna", "Zoë", "José", "Łukasz", "Björn", "Søren", "Nguyễn", "Γιώργος", "Ольга", "李娜", "美咲", "Müge", "François", "Siân", "Ivana", "Kwame", "Aisha", "Tom",
         "Maria", "Noor", "João", "Eszter", "Jürgen", "Renée", "David"]
LAST = ["Müller", "O'Brien", "Nowak", "García", "Åkerman", "Šimić", "Papadopoulou", "Иванова", "Tanaka", "de la Cruz", "Smith", "Öztürk", "Dubois",
        "Kovács", "Okafor", "van den Berg"]
CITIES = ["Köln", "São Paulo", "Łódź", "Zürich", "Αθήνα", "Київ", "東京", "Malmö", "Washington, D.C.", "Kraków", "Saint-Étienne", "İzmir", "Århus", "Cork", "Accra",
          "Montréal"]
LARGE = ["mailbox.example", "postfach.example", "courriel.example", "correo.example"]
SMALL = ["firma%02d.example" % n for n in range(1, 33)] + ["bücher.example", "café-noir.example", "πόλη.example", "news.co.example"]


def main():
    count = int(sys.argv[1])
    draw = random.Random(2026)
    out = csv.writer(sys.stdout, lineterminator="\r\n")
    out.writerow(["Email", "name", "surname", "city", "customer"])
    rows = []
    for n in range(1, count + 1):
        domain = draw.choice(LARGE) if draw.random() < 0.6 else draw.choice(SMALL)
        local = "ünal.%d" % n if n % 500 == 0 else "person.%d" % n  # a few local parts outside ASCII (RFC 6531)
        rows.append(["%s@%s" % (local, domain), draw.choice(FIRST), draw.choice(LAST), draw.choice(CITIES), "C-%06d" % n])
    draw.shuffle(rows)
    rows += rows[:2]
    rows += [["no address at all", "", "", "", ""], ["two@@signs.example", "", "", "", ""], ["", "Nobody", "", "", ""]]
    out.writerows(rows)


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8", newline="")
    main()
