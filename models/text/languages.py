"""The words that a language has for what people write in figures and signs: English and French."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from unicode_rbnf import RbnfEngine

LanguageName = Literal["en", "fr"]
LANGUAGE_NAMES: tuple[LanguageName, ...] = get_args(LanguageName)
LARGEST_DIGITS = 15
"""Digits of the largest number that is read as one; longer ones are read digit by digit."""


@cache
def _engine(name: LanguageName) -> "RbnfEngine":
    from unicode_rbnf import RbnfEngine

    return RbnfEngine.for_language(name)


@lru_cache(4096)
def _cardinal(name: LanguageName, number: int, feminine: bool) -> str:
    result = _engine(name).format_number(number)
    rules = ("spellout-cardinal-feminine",) if feminine else ()
    texts = (result.text_by_ruleset.get(rule) for rule in (*rules, "spellout-numbering"))
    return next(filter(None, texts), result.text)


@dataclass(frozen=True)
class Noun:
    """A unit or a currency: singular, plural, and whether it is feminine."""

    one: str
    many: str
    feminine: bool = False


@dataclass(frozen=True)
class Currency:
    """A currency and its hundredth part, if it has one."""

    whole: Noun
    part: Noun | None


@dataclass(frozen=True)
class Language:
    """The words of one language."""

    name: LanguageName
    months: tuple[str, ...]
    units: Mapping[str, Noun]
    currencies: Mapping[str, Currency]
    magnitudes: Mapping[str, str]
    """Millions and the like after an amount of money, and their abbreviations."""
    signs: Mapping[str, str]
    """Operators, and other signs that are read as words."""
    evidence: frozenset[str]
    """Frequent words that the other language lacks."""
    feminine: frozenset[str] = frozenset()
    """Frequent feminine nouns that are counted, if numbers agree with them."""

    def cardinal(self, digits: str, *, feminine: bool = False) -> str:
        """Read digits as a number, or one by one if they are too many or begin with a zero."""
        if len(digits) > LARGEST_DIGITS or (digits[0] == "0" and len(digits) > 1):
            return self.spelled(digits)
        return _cardinal(self.name, int(digits), feminine)

    def spelled(self, text: str) -> str:
        """Read digits and letters one by one; anything else is left out."""
        known = (char for char in text if char.isalnum())
        return " ".join(self.cardinal(char) if char in "0123456789" else char for char in known)

    def ordinal(self, number: int, *, feminine: bool = False) -> str:
        """Read an ordinal number."""
        from unicode_rbnf import FormatPurpose

        result = _engine(self.name).format_number(number, FormatPurpose.ORDINAL)
        gender = "feminine" if feminine else "masculine"
        return result.text_by_ruleset.get(f"spellout-ordinal-{gender}", result.text)

    def year(self, number: int) -> str:
        """Read a year."""
        from unicode_rbnf import FormatPurpose

        if self.name != "en":
            return self.cardinal(str(number))
        text = _engine(self.name).format_number(number, FormatPurpose.YEAR).text
        hundreds, rest = divmod(number, 100)
        if 0 < rest < 10 and hundreds % 10:
            return f"{self.cardinal(str(hundreds))} oh {self.cardinal(str(rest))}"
        return text


def _nouns(table: str, *, feminine: str = "") -> dict[str, Noun]:
    """Parse `sign singular plural` lines; "-" stands for a space in a name."""
    rows = [line.split() for line in table.strip().splitlines()]
    women = feminine.split()
    return {
        sign: Noun(one.replace("-", " "), many.replace("-", " "), sign in women)
        for sign, one, many in rows
    }


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _currency(whole: Noun, part: Noun | None = None) -> Currency:
    return Currency(whole, part)


_CENT = Noun("cent", "cents")
_DOLLAR, _CENTIME = Noun("dollar", "dollars"), Noun("centime", "centimes")

ENGLISH = Language(
    name="en",
    months=(
        *("January", "February", "March", "April", "May", "June", "July", "August"),
        *("September", "October", "November", "December"),
    ),
    units=_nouns(
        """
        km/h kilometer-per-hour kilometers-per-hour
        km² square-kilometer square-kilometers
        m² square-meter square-meters
        m³ cubic-meter cubic-meters
        m/s meter-per-second meters-per-second
        km kilometer kilometers
        cm centimeter centimeters
        mm millimeter millimeters
        m meter meters
        kg kilogram kilograms
        mg milligram milligrams
        g gram grams
        ml milliliter milliliters
        mL milliliter milliliters
        cl centiliter centiliters
        l liter liters
        L liter liters
        mph mile-per-hour miles-per-hour
        mi mile miles
        ft foot feet
        lb pound pounds
        lbs pound pounds
        oz ounce ounces
        °C degree-Celsius degrees-Celsius
        °F degree-Fahrenheit degrees-Fahrenheit
        ° degree degrees
        % percent percent
        h hour hours
        hr hour hours
        hrs hour hours
        min minute minutes
        sec second seconds
        s second seconds
        ms millisecond milliseconds
        GHz gigahertz gigahertz
        MHz megahertz megahertz
        kHz kilohertz kilohertz
        Hz hertz hertz
        kWh kilowatt-hour kilowatt-hours
        kW kilowatt kilowatts
        W watt watts
        V volt volts
        TB terabyte terabytes
        GB gigabyte gigabytes
        MB megabyte megabytes
        KB kilobyte kilobytes
        kB kilobyte kilobytes
        """
    ),
    currencies={
        "$": _currency(_DOLLAR, _CENT),
        "USD": _currency(_DOLLAR, _CENT),
        "CAD": _currency(Noun("Canadian dollar", "Canadian dollars"), _CENT),
        "€": _currency(Noun("euro", "euros"), _CENT),
        "EUR": _currency(Noun("euro", "euros"), _CENT),
        "£": _currency(Noun("pound", "pounds"), Noun("penny", "pence")),
        "GBP": _currency(Noun("pound", "pounds"), Noun("penny", "pence")),
        "¥": _currency(Noun("yen", "yen")),
        "JPY": _currency(Noun("yen", "yen")),
        "CHF": _currency(Noun("Swiss franc", "Swiss francs"), Noun("centime", "centimes")),
        "₹": _currency(Noun("rupee", "rupees"), Noun("paisa", "paise")),
    },
    magnitudes={
        **{word: word for word in ("thousand", "million", "billion", "trillion")},
        "k": "thousand",
        "K": "thousand",
        "M": "million",
        "m": "million",
        "B": "billion",
        "bn": "billion",
        "Bn": "billion",
    },
    signs={
        "+": "plus",
        "-": "minus",
        "−": "minus",
        "×": "times",
        "*": "times",
        "x": "times",
        "÷": "divided by",
        "/": "divided by",
        "=": "equals",
        "&": "and",
        "#": "number",
        "n°": "number",
        "№": "number",
        "point": "point",
        "to": "to",
        "dot": "dot",
        "slash": "slash",
        "@": "at",
    },
    evidence=_words(
        """
        the is are of to and in it you that for with at this was have i my your will be
        from by not we they he she there what it's i'm don't please there's has had been
        can costs an
        """
    ),
)

FRENCH = Language(
    name="fr",
    months=(
        *("janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août"),
        *("septembre", "octobre", "novembre", "décembre"),
    ),
    units=_nouns(
        """
        km/h kilomètre-heure kilomètres-heure
        km² kilomètre-carré kilomètres-carrés
        m² mètre-carré mètres-carrés
        m³ mètre-cube mètres-cubes
        m/s mètre-par-seconde mètres-par-seconde
        km kilomètre kilomètres
        cm centimètre centimètres
        mm millimètre millimètres
        m mètre mètres
        kg kilogramme kilogrammes
        mg milligramme milligrammes
        g gramme grammes
        ml millilitre millilitres
        mL millilitre millilitres
        cl centilitre centilitres
        l litre litres
        L litre litres
        °C degré-Celsius degrés-Celsius
        °F degré-Fahrenheit degrés-Fahrenheit
        ° degré degrés
        % pour-cent pour-cent
        h heure heures
        min minute minutes
        sec seconde secondes
        s seconde secondes
        ms milliseconde millisecondes
        GHz gigahertz gigahertz
        MHz mégahertz mégahertz
        kHz kilohertz kilohertz
        Hz hertz hertz
        kWh kilowattheure kilowattheures
        kW kilowatt kilowatts
        W watt watts
        V volt volts
        To téraoctet téraoctets
        Go gigaoctet gigaoctets
        Mo mégaoctet mégaoctets
        ko kilooctet kilooctets
        """,
        feminine="h min sec s ms",
    ),
    currencies={
        "$": _currency(_DOLLAR, _CENT),
        "USD": _currency(_DOLLAR, _CENT),
        "CAD": _currency(Noun("dollar canadien", "dollars canadiens"), _CENT),
        "€": _currency(Noun("euro", "euros"), _CENTIME),
        "EUR": _currency(Noun("euro", "euros"), _CENTIME),
        "£": _currency(Noun("livre", "livres", feminine=True), Noun("penny", "pence")),
        "GBP": _currency(Noun("livre", "livres", feminine=True), Noun("penny", "pence")),
        "¥": _currency(Noun("yen", "yens")),
        "JPY": _currency(Noun("yen", "yens")),
        "CHF": _currency(Noun("franc suisse", "francs suisses"), _CENTIME),
        "₹": _currency(Noun("roupie", "roupies", feminine=True)),
    },
    magnitudes={
        **{word: word for word in ("mille", "million", "millions", "milliard", "milliards")},
        "k": "mille",
        "K": "mille",
        "M": "millions",
        "Md": "milliards",
        "Mds": "milliards",
    },
    signs={
        "+": "plus",
        "-": "moins",
        "−": "moins",
        "×": "fois",
        "*": "fois",
        "x": "fois",
        "÷": "divisé par",
        "/": "divisé par",
        "=": "égale",
        "&": "et",
        "#": "numéro",
        "n°": "numéro",
        "№": "numéro",
        "point": "virgule",
        "to": "à",
        "dot": "point",
        "slash": "slash",
        "@": "arobase",
    },
    evidence=_words(
        """
        le la les des du un une et est dans pour que qui il elle nous vous je au aux avec
        sur pas ne ce cette ces sont mais ou où à mon ma mes ses leur être ai avons heures
        coûte de en chez rendez-vous bonjour merci il y a-t-il voici
        """
    ),
    feminine=_words(
        """
        heure heures minute minutes seconde secondes journée journées semaine semaines année
        années personne personnes page pages fois pomme pommes livre livres bouteille bouteilles
        femme femmes fille filles voiture voitures place places ligne lignes question questions
        """
    ),
)

LANGUAGES: Mapping[LanguageName, Language] = {"en": ENGLISH, "fr": FRENCH}
_ELISIONS = ("l'", "d'", "j'", "qu'", "n'", "c'", "s'", "m'", "t'")


def language_of(word: str) -> LanguageName | None:
    """Return the language that a word belongs to, if it is evidence of one."""
    plain = word.strip('.,;:!?«»"()…*_').replace("’", "'")
    lower = plain.lower()
    if len(plain) > 1 and plain.isupper():
        return None
    for name, language in LANGUAGES.items():
        if lower in language.evidence:
            return name
    begins = len(lower) > 3 and lower.startswith(_ELISIONS) and lower[-2:] not in ("'s", "'t")
    return "fr" if begins else None
