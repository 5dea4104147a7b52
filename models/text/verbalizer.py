"""Reads figures and signs as words: numbers, times, dates, money, units, and addresses."""

import re
from collections.abc import Callable, Iterable

from .languages import LANGUAGES, Currency, LanguageName, Noun

_THIN = "\u00a0\u202f\u2009"


def _grouped(spaces: str) -> str:
    return rf"\d{{1,3}}(?:[{spaces}]\d{{3}})+(?!\d)(?:[.,]\d+)?"


_NUMBERS = {
    "en": rf"(?:\d{{1,3}}(?:,\d{{3}})+(?!\d)(?:\.\d+)?|{_grouped(_THIN)}"
    r"|\d{1,3}(?: \d{3}){2,}(?!\d)|\d+(?:\.\d+)?)",
    "fr": rf"(?:{_grouped(' ' + _THIN)}|\d{{1,3}}(?:\.\d{{3}})+(?!\d)(?:,\d+)?"
    r"|\d+(?:[.,]\d+)?)",
}
_SPACE = rf"[ {_THIN}]"
_VULGAR = {"½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3"}
_FRACTIONS = {
    "en": {
        (1, 2): "one half",
        (1, 4): "one quarter",
        (3, 4): "three quarters",
        (1, 3): "one third",
        (2, 3): "two thirds",
    },
    "fr": {
        (1, 2): "un demi",
        (1, 4): "un quart",
        (3, 4): "trois quarts",
        (1, 3): "un tiers",
        (2, 3): "deux tiers",
    },
}
_LONG_WORD = re.compile(r"\S{200,}")
"""Words in which digits are read one by one: the rules take time by the square of their length."""
_YEARS = range(1100, 2100)
_YEAR_WORDS = ("in", "since", "by", "from", "until", "of", "year", "before", "after", "circa")
_BEGIN = r"(?<![\w.,:/-])"
_MINUS = r"(?:(?<!\w)(?P<minus>[-−]))?"
_MERIDIEM = r"(?P<half>[aApP])\.?[mM]\b\.?"

Reader = Callable[[re.Match[str], str], str | None]


def _any(words: Iterable[str]) -> str:
    """Match one of these, the longest first."""
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


class Verbalizer:
    """Reads text of one language."""

    def __init__(self, name: LanguageName) -> None:
        self.language = LANGUAGES[name]
        self._english = name == "en"
        months = [month.lower() for month in self.language.months]
        self._months = {month: number for number, month in enumerate(months, 1)}
        if self._english:
            short = {month[:3]: number for number, month in enumerate(months, 1)}
            self._months |= short | {"sept": 9}
        self._rules = [(re.compile(rule), reader) for rule, reader in self._all_rules()]

    def read(self, text: str, previous: str = "") -> str:
        """Return the text with its figures as words; `previous` is the word before it."""
        for sign, fraction in _VULGAR.items():
            text = text.replace(sign, f" {fraction}")
        parts, at = list[str](), 0
        for word in _LONG_WORD.finditer(text):
            parts += [self._read(text[at : word.start()], previous), self._digits_of(word.group())]
            at = word.end()
        return "".join([*parts, self._read(text[at:], previous)])

    def _read(self, text: str, previous: str) -> str:
        found = [rule.search(text) for rule, _ in self._rules]
        parts, at = list[str](), 0
        while True:
            for index, (rule, _) in enumerate(self._rules):
                match = found[index]
                if match is not None and match.start() < at:
                    found[index] = rule.search(text, at)
            starts = [(match.start(), index) for index, match in enumerate(found) if match]
            if not starts:
                return "".join([*parts, text[at:]])
            start, index = min(starts)
            match = found[index]
            assert match is not None
            before = text[max(0, start - 40) : start].split()
            said = self._rules[index][1](match, before[-1] if before else previous)
            if said is None:
                found[index] = self._rules[index][0].search(text, start + 1)
                continue
            left = " " if start and text[start - 1].isalnum() else ""
            right = " " if text[match.end() : match.end() + 1].isalnum() else ""
            parts += [text[at:start], left, said, right]
            at = match.end()

    def _digits_of(self, word: str) -> str:
        return re.sub("[0-9]", lambda digit: f" {self.language.cardinal(digit.group())} ", word)

    def spelled(self, text: str) -> str:
        """Read each digit and letter on its own."""
        return self.language.spelled(text)

    def ordinal(self, text: str) -> str:
        """Read a number as an ordinal one."""
        return self.language.ordinal(int(text)) if 0 < len(text) < 7 else self.spelled(text)

    def date(self, text: str, order: str) -> str:
        """Read numbers apart as a date whose parts come in the order of `order`, such as mdy."""
        parts = dict(zip(order, re.findall(r"\d+", text), strict=False))
        day, month, year = (parts.get(name) for name in "dmy")
        return self._date(day, int(month) if month else None, year) or self.read(text)

    def _all_rules(self) -> list[tuple[str, Reader]]:
        number, language = _NUMBERS[self.language.name], self.language
        month = rf"(?P<month>(?i:{_any(self._months)})\b\.?)"
        amount = rf"(?P<number>{number})(?:{_SPACE}?(?P<size>{_any(language.magnitudes)})(?!\w))?"
        signs, codes = "[$€£¥₹]", _any(code for code in language.currencies if len(code) > 1)
        unit = rf"{_SPACE}?(?P<unit>{_any(language.units)})(?![\w/])"
        grouped = r"(?!\d{1,3}(?:\.\d{3})+(?!\d|\.\d))"
        clock = r"(?P<hour>[01]?\d|2[0-4])"
        rules: list[tuple[str, Reader]] = [
            (r"(?:https?://|\bwww\.)[^\s<>]+|[\w.+-]+@[\w-]+\.[\w.-]*\w", self._address),
            (_BEGIN + r"(?P<y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d)(?![\w-])", self._numeric_date),
            (
                _BEGIN
                + r"(?P<a>\d{1,2})(?P<sep>[/.])(?P<b>\d{1,2})(?P=sep)(?P<y>\d{4}|\d\d)(?![\w/])",
                self._numeric_date,
            ),
            (
                rf"{_BEGIN}(?P<day>\d{{1,2}})(?:st|nd|rd|th|er)?{_SPACE}(?:of )?{month}"
                r"(?:,? (?P<year>\d{4})(?!\w))?",
                self._written_date,
            ),
            (
                _BEGIN + clock + rf":(?P<minute>[0-5]\d)(?::(?P<second>[0-5]\d))?(?!\d|:)"
                rf"(?:{_SPACE}?{_MERIDIEM})?",
                self._time,
            ),
            (_BEGIN + clock + r"h(?P<minute>[0-5]\d)(?!\w)", self._time),
            (rf"(?P<sign>{signs}){_SPACE}?{_MINUS}{amount}", self._money),
            (
                rf"{_MINUS}{_BEGIN}{amount}{_SPACE}?(?P<sign>{signs}|(?:{codes})(?!\w))",
                self._money,
            ),
            (
                r"(?<!\w)(?:\+\d{1,3}(?:[ .-]?\(?\d{1,4}\)?){2,6}|\d{3}-\d{3}-\d{4}"
                r"|\(\d{3}\) ?\d{3}-\d{4}|\d{3}-\d{4}|0\d(?:[ .-]?\d\d){4})(?![\w-])",
                self._phone,
            ),
            (
                rf"(?<![\d.]){'' if self._english else grouped}\d+(?:\.\d+){{2,}}(?![\w.]?\d)",
                self._version,
            ),
            (_BEGIN + r"(?P<up>\d{1,3})/(?P<down>\d{1,3})(?![\w/])", self._fraction),
            (rf"{_BEGIN}(?P<year>\d{{3}}0)s\b", self._decade),
            (
                rf"{_BEGIN}(?P<from>{number}){_SPACE}?[–—]{_SPACE}?(?P<to>{number})(?:{unit})?"
                rf"|{_BEGIN}(?P<from2>{number})-(?P<to2>{number})(?!\w|-)",
                self._range,
            ),
            (
                r"(?:(?<=\d)|(?<=\d ))(?P<sign>[+×÷=])(?= ?[\d(])"
                r"|(?<=\d )(?P<sign2>[-−*/x])(?= \d)",
                self._sign,
            ),
            (r"(?:#|(?<!\w)[nN]°|№) ?(?=\d)|(?<!\S)&(?!\S)", self._sign),
            (rf"{_MINUS}(?<!\d[.,])(?P<number>{number}){unit}", self._measure),
            (rf"{_MINUS}(?P<number>{number})", self._number),
        ]
        ordinal = r"(?:st|nd|rd|th)" if self._english else r"(?:er|re|ère|e|ème|nde?|nds?)"
        rules.insert(
            4, (rf"{_BEGIN}(?P<ordinal>\d{{1,6}})(?P<ending>{ordinal})(?!\w)", self._ordinal)
        )
        if self._english:
            rules.insert(
                4,
                (
                    rf"(?<!\w){month} (?P<day>\d{{1,2}})(?:st|nd|rd|th)?(?![\w:])"
                    r"(?:,? (?P<year>\d{4})(?!\w))?",
                    self._written_date,
                ),
            )
            rules.insert(4, (rf"{_BEGIN}{clock}{_SPACE}?{_MERIDIEM}", self._time))
        else:
            rules.insert(
                4,
                (
                    rf"{_BEGIN}{clock}{_SPACE}?h(?:{_SPACE}?(?P<minute>[0-5]\d))?(?!\w)",
                    self._time,
                ),
            )
        return rules

    def _plain(self, digits: str, *, feminine: bool = False) -> str:
        """Read a number as it is written, its decimals digit by digit."""
        whole, decimals = self._split(digits)
        said = self.language.cardinal(whole, feminine=feminine and not decimals)
        if not decimals:
            return said
        if self._english or decimals.startswith("0") or len(decimals) > 3:
            rest = self.language.spelled(decimals)
        else:
            rest = self.language.cardinal(decimals)
        return f"{said} {self.language.signs['point']} {rest}"

    def _split(self, digits: str) -> tuple[str, str]:
        """Split a number into its digits before and after the decimal point."""
        for space in " " + _THIN:
            digits = digits.replace(space, "")
        if self._english:
            whole, _, decimals = digits.replace(",", "").partition(".")
        elif "," in digits:
            whole, _, decimals = digits.replace(".", "").partition(",")
        elif re.fullmatch(r"\d{1,3}(?:\.\d{3})+", digits):
            whole, decimals = digits.replace(".", ""), ""
        else:
            whole, _, decimals = digits.partition(".")
        return whole, decimals

    def _minus(self, match: re.Match[str]) -> str:
        return f"{self.language.signs['-']} " if match["minus"] else ""

    def _counted(self, digits: str, noun: Noun) -> str:
        whole, decimals = self._split(digits)
        if self._english:
            single = whole.lstrip("0") == "1" and not decimals
        else:
            single = len(whole.lstrip("0")) == 0 or whole.lstrip("0") == "1"
        return f"{self._plain(digits, feminine=noun.feminine)} {noun.one if single else noun.many}"

    def _address(self, match: re.Match[str], previous: str) -> str:  # noqa: ARG002
        signs = self.language.signs
        text = re.sub(r"^https?://", "", match.group()).rstrip("/")
        end = text[len(text.rstrip(".,;:!?)")) :]
        text = text.partition("?")[0].partition("#")[0].removesuffix(end)
        for sign, name in ((".", "dot"), ("/", "slash"), ("@", "@")):
            text = text.replace(sign, f" {signs[name]} ")
        words = (self._number_inside(word) for word in re.split(r"[\s_-]+", text))
        return " ".join(words) + end

    def _number_inside(self, word: str) -> str:
        return re.sub(r"\d+", lambda found: f" {self._plain(found.group())} ", word).strip()

    def _numeric_date(self, match: re.Match[str], previous: str) -> str | None:  # noqa: ARG002
        parts = match.groupdict()
        if "m" in parts:
            return self._date(parts["d"], int(parts["m"]), parts["y"])
        first, second, year = parts["a"], parts["b"], parts["y"]
        american = self._english and parts["sep"] == "/" and int(first) <= 12
        day, month = (second, first) if american else (first, second)
        return self._date(day, int(month), year)

    def _written_date(self, match: re.Match[str], previous: str) -> str | None:  # noqa: ARG002
        name = match["month"].rstrip(".")
        if self._english and name in ("may", "march", "mar"):
            return None
        return self._date(match["day"], self._months[name.lower()], match["year"])

    def _date(self, day: str | None, month: int | None, year: str | None) -> str | None:
        """Read a date; None if there is no such day or month."""
        if not (month is None or 1 <= month <= 12) or not (day is None or 1 <= int(day) <= 31):
            return None
        name = "" if month is None else self.language.months[month - 1]
        said_year = ""
        if year is not None:
            said_year = self.language.year(int(year) + (2000 if len(year) == 2 else 0))
        if self._english:
            said_day = self.language.ordinal(int(day)) if day else ""
            joint = ", " if said_year and said_day else " "
            return f"{name} {said_day}".strip() + (joint + said_year if said_year else "")
        said_day = ""
        if day:
            said_day = self.language.ordinal(1) if int(day) == 1 else self._plain(str(int(day)))
        return " ".join(filter(None, (said_day, name, said_year)))

    def _time(self, match: re.Match[str], previous: str) -> str:  # noqa: ARG002
        parts = match.groupdict()
        hour, minute, second = int(parts["hour"]), parts.get("minute"), parts.get("second")
        half = parts.get("half")
        said = self._clock(hour, minute, second, half and half.lower())
        ends = match.group().endswith(".") and not match.string[match.end() :].strip()
        return said + ("." if ends else "")

    def _clock(self, hour: int, minute: str | None, second: str | None, half: str | None) -> str:
        language = self.language
        if not self._english:
            hours = self._counted(str(hour), language.units["h"])
            if hour == 0:
                hours = f"{self._plain('0')} {language.units['h'].one}"
            said = (
                hours
                if not minute or int(minute) == 0
                else (f"{hours} {language.cardinal(str(int(minute)), feminine=True)}")
            )
            more = self._counted(str(int(second)), language.units["s"]) if second else ""
            said += f" et {more}" if more else ""
            return said + ({"a": " du matin", "p": " du soir"}[half] if half else "")
        said = language.cardinal(str(hour))
        if minute and int(minute):
            oh = "oh " if int(minute) < 10 else ""
            said += f" {oh}{language.cardinal(str(int(minute)))}"
        elif not half:
            said += " o'clock" if 0 < hour <= 12 else " hundred"
        if second:
            said += f" and {self._counted(str(int(second)), language.units['s'])}"
        return said + (f" {half} m" if half else "")

    def _money(self, match: re.Match[str], previous: str) -> str:  # noqa: ARG002
        currency = self.language.currencies[match["sign"]]
        size = match["size"]
        if size is None:
            return self._minus(match) + self._amount(match["number"], currency)
        word = self.language.magnitudes[size]
        joint = (
            ""
            if self._english or word == "mille"
            else "d'"
            if (currency.whole.many[0] in "aeiou")
            else "de "
        )
        if not self._english and self._split(match["number"])[0] == "1":
            word = word.rstrip("s")
        return f"{self._minus(match)}{self._plain(match['number'])} {word} {joint}" + (
            currency.whole.many
        )

    def _amount(self, number: str, currency: Currency) -> str:
        whole, decimals = self._split(number)
        cents = int(decimals.ljust(2, "0")) if 0 < len(decimals) <= 2 else 0
        if currency.part is None or len(decimals) > 2:
            return self._counted(number, currency.whole)
        parts = []
        if int(whole) or not cents:
            parts.append(self._counted(whole, currency.whole))
        if cents and (self._english or not parts):
            parts.append(self._counted(str(cents), currency.part))
        elif cents:
            return f"{parts[0]} {self.language.cardinal(str(cents))}"
        return " and ".join(parts)

    def _phone(self, match: re.Match[str], previous: str) -> str:  # noqa: ARG002
        text = match.group()
        plus = f"{self.language.signs['+']} " if text.startswith("+") else ""
        groups = re.findall(r"\d+", text)
        if self._english:
            return plus + ", ".join(self.language.spelled(group) for group in groups)
        if len(groups) == 1 and len(text) == 10:
            groups = [text[at : at + 2] for at in range(0, 10, 2)]
        return plus + " ".join(self._plain(group) for group in groups)

    def _version(self, match: re.Match[str], previous: str) -> str:  # noqa: ARG002
        point = "point" if self._english else self.language.signs["dot"]
        return f" {point} ".join(self._plain(part) for part in match.group().split("."))

    def _fraction(self, match: re.Match[str], previous: str) -> str:
        up, down = int(match["up"]), int(match["down"])
        known = _FRACTIONS[self.language.name].get((up, down))
        if known:
            before = re.fullmatch(r"\d+", previous)
            joint = " and " if self._english else " et "
            return f"{joint.lstrip()}{known}" if before else known
        if self._english and 0 < up < down and 2 < down <= 12:
            part = self.language.ordinal(down)
            return f"{self._plain(str(up))} {part}{'s' if up > 1 else ''}"
        joint = " " if self._english else " sur "
        return f"{self._plain(match['up'])}{joint}{self._plain(match['down'])}"

    def _decade(self, match: re.Match[str], previous: str) -> str | None:  # noqa: ARG002
        if not self._english or int(match["year"]) not in _YEARS:
            return None
        said = self.language.year(int(match["year"]))
        return f"{said[:-1]}ies" if said.endswith("y") else f"{said}s"

    def _range(self, match: re.Match[str], previous: str) -> str | None:
        first, last = match["from"] or match["from2"], match["to"] or match["to2"]
        if self._value(first) >= self._value(last):
            return None
        ends = [self._bare(first, previous), self._bare(last, previous)]
        if match["unit"]:
            ends[1] = self._counted(last, self.language.units[match["unit"]])
        return f" {self.language.signs['to']} ".join(ends)

    def _value(self, number: str) -> float:
        whole, decimals = self._split(number)
        return float(f"{whole[:18]}.{decimals or 0}")

    def _bare(self, number: str, previous: str) -> str:
        """Read a number without a unit: as a year after a word that one follows."""
        dated = previous.lower() in _YEAR_WORDS or previous.lower() in self._months
        if dated and len(number) == 4 and number.isdigit() and int(number) in _YEARS:
            return self.language.year(int(number))
        return self._plain(number)

    def _sign(self, match: re.Match[str], previous: str) -> str:  # noqa: ARG002
        parts = match.groupdict()
        sign = parts.get("sign") or parts.get("sign2") or match.group()
        return self.language.signs[sign.strip().lower()] + (" " if match.group()[-1] == " " else "")

    def _measure(self, match: re.Match[str], previous: str) -> str:  # noqa: ARG002
        return self._minus(match) + self._counted(
            match["number"], self.language.units[match["unit"]]
        )

    def _number(self, match: re.Match[str], previous: str) -> str:
        follows = re.match(r"\s+(\w+)", match.string[match.end() :][:40])
        if follows and follows.group(1).lower() in self.language.feminine:
            return self._minus(match) + self._plain(match["number"], feminine=True)
        return self._minus(match) + self._bare(match["number"], previous)

    def _ordinal(self, match: re.Match[str], previous: str) -> str:  # noqa: ARG002
        feminine = match["ending"] in ("re", "ère")
        return self.language.ordinal(int(match["ordinal"]), feminine=feminine)
