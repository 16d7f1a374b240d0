"""The exercise of 08_find_leaks."""

from typing import NamedTuple

from course_utils.exercises.judging import NOTHING, called, show


class Letter(NamedTuple):
    """An invented letter: its text, what must go (what it is, and how it is written), and what must stay."""

    text: str
    secrets: list[tuple[str, str]]
    kept: list[str]


LETTERS = [
    Letter(
        "Name: Mary Holloway\nDOB: 04/11/1951\nMRN: 0047113\nTel: 020 7946 0018\n"
        "Seen on 12 March 2024. VA 6/12 right, 6/9 left. BP 148/82, HbA1c 8.1%.\n"
        "Mrs Holloway has more than 20 haemorrhages in 4 quadrants, right eye. PRP 1200 shots. Review in 3/12.",
        [
            ("the first name in the header", "Mary"),
            ("the date 04/11/1951, with slashes", "04/11/1951"),
            ("the record number", "0047113"),
            ("the phone number", "7946 0018"),
            ("the date 12 March 2024, in words", "March 2024"),
            ("the name in the body (Mrs Holloway)", "Holloway"),
        ],
        ["6/12", "6/9", "148/82", "HbA", "8.1%", "20 haemorrhages", "4 quadrants", "1200 shots", "3/12"],
    ),
    Letter(
        "Name: Ivo Brandt\nDOB: 1948-07-30\nMRN: 2210894\nTel: 0161-496-0532\n"
        "C/D 0.4, IOP 16/17 mmHg. Brandt has had diabetes for 22 years. DR grade 2 on 2024-02-05, last laser 2019.\n"
        "Copy to IVO BRANDT.",
        [
            ("the date 1948-07-30, with hyphens", "1948-07-30"),
            ("the record number", "2210894"),
            ("the phone number, with hyphens", "496-0532"),
            ("the date 2024-02-05, in the body", "2024-02-05"),
            ("the name in the body", "Brandt"),
            ("the name in capitals", "BRANDT"),
        ],
        ["0.4", "IOP", "16/17", "22 years", "grade 2", "2019"],
    ),
    Letter(
        "姓名: 王秀英\n病历号: 0093321\n电话: 010-5555-0142\n2024年3月12日就诊。视力0.6。患者王秀英患糖尿病12年, 4个象限出血均>20个。",
        [
            ("the Chinese name", "王秀英"),
            ("the record number after 病历号", "0093321"),
            ("the phone number after 电话", "5555-0142"),
            ("the date 2024年3月12日", "2024年3月12日"),
        ],
        ["0.6", "12年", "4个象限", ">20"],
    ),
    Letter(
        "Name: Li Hale\nDOB: 1939-01-22\nMRN: 5510238\nTel: 01632 960 081\n"
        "Mr Hale has inhaled steroids and raised lipids. VA 6/18, IOP 18/17. PRP on 9 June 2023.",
        [
            ("the first name in the header", "Li "),
            ("the date 1939-01-22, with hyphens", "1939-01-22"),
            ("the record number", "5510238"),
            ("the phone number", "960 081"),
            ("the date 9 June 2023, in words", "June 2023"),
            ("the name in the body (Mr Hale)", "Mr Hale"),
        ],
        ["inhaled", "lipids", "6/18", "18/17"],
    ),
]


def deidentify(answer) -> tuple[bool, str]:
    """08: take names, dates, record and phone numbers out of letters, and leave the medicine in."""
    for number, letter in enumerate(LETTERS, start=1):
        given = called(answer, (letter.text,))
        if given is None:
            return False, NOTHING
        if not isinstance(given, str):
            return False, f"Your function gives {show(given)}. Return the letter as a text."
        lost = [part for part in letter.kept if part.lower() not in given.lower()]
        if len(lost) == len(letter.kept):
            return (
                False,
                f"Letter {number}: nothing of the medicine is left. Replace the parts that identify, not the lines.",
            )
        if lost:
            hint = "Of all words, only names go, as whole words."
            if any(letter.isdigit() for letter in lost[0]):
                hint = "Of all numbers, only full dates, record numbers and phone numbers go."
            return False, f"Letter {number}: you also took out {lost[0]}, which identifies no one. {hint}"
        left = [what for what, secret in letter.secrets if secret in given]
        left = left or [what for what, secret in letter.secrets if secret.lower() in given.lower()]
        if left:
            return False, f"Letter {number}: {left[0]} is still there."
    return (
        True,
        f"Right: {len(LETTERS)} letters identify no one, and every measurement is still there. Real ones need far more.",
    )


CHECKERS = {"08-deidentify": deidentify}
