"""The closed domain: English numbers, times, dates and short commands, and French numbers."""

import hashlib
from random import Random

Words = list[str]
listed = str.split

ONES = listed("zero one two three four five six seven eight nine")
TEENS = listed("ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen")
TENS = listed("twenty thirty forty fifty sixty seventy eighty ninety")
ORDINALS = listed("first second third fourth fifth sixth seventh eighth ninth tenth")
DAYS = listed("monday tuesday wednesday thursday friday saturday sunday")
MONTHS = listed(
    "january february march april may june july august september october november december"
)
COLORS = listed("red green blue yellow white orange purple pink")
ROOMS = listed("kitchen bedroom bathroom garage garden office hall")
DEVICES = listed("light lights fan heater radio television lamp")
NAMES = listed("alice david emma john mary peter sarah robert")
CITIES = listed("paris london boston tokyo berlin madrid chicago rome")
ITEMS = listed("milk bread butter apples coffee water sugar cheese tomatoes rice")
MUSIC = listed("jazz rock music piano opera")
PHRASES = """stop|yes|no|next song|previous song|volume up|volume down|thank you|good morning|hello
|stop the music|what time is it|what day is it|good evening|good night|cancel the timer
|cancel the alarm|repeat that please|never mind|play it again""".replace("\n", "").split("|")


def number(rng: Random, n: int) -> Words:
    """The words of 0 <= n < 10 000; "and" after the hundreds is said or left out at random."""
    if n < 10:
        return [ONES[n]]
    if n < 20:
        return [TEENS[n - 10]]
    if n < 100:
        return [TENS[n // 10 - 2]] + ([ONES[n % 10]] if n % 10 else [])
    if n < 1000:
        rest = number(rng, n % 100) if n % 100 else []
        joint = ["and"] if rest and rng.random() < 0.7 else []
        return [ONES[n // 100], "hundred", *joint, *rest]
    return number(rng, n // 1000) + ["thousand"] + (number(rng, n % 1000) if n % 1000 else [])


def digits(rng: Random, low: int, high: int) -> Words:
    return [rng.choice(ONES) for _ in range(rng.randint(low, high))]


def clock(rng: Random) -> Words:
    hour = number(rng, rng.randint(1, 12))
    kind = rng.random()
    if kind < 0.25:
        return [*hour, "o'clock"]
    if kind < 0.45:
        return ["half", "past", *hour]
    if kind < 0.6:
        return ["quarter", rng.choice(["past", "to"]), *hour]
    return hour + number(rng, rng.choice([10, 15, 20, 30, 40, 45, 50, rng.randint(10, 59)]))


def day_part(rng: Random) -> Words:
    parts = ["", "in the morning", "in the evening", "in the afternoon", "tonight", "tomorrow"]
    return rng.choice([*parts, "today"]).split()


def day(rng: Random) -> Words:
    fixed = ["tomorrow", "today", "next week", "tonight"]
    return rng.choice([*fixed, f"on {rng.choice(DAYS)}", f"next {rng.choice(DAYS)}"]).split()


def duration(rng: Random) -> Words:
    amount = rng.choice([rng.randint(2, 60), rng.choice([5, 10, 15, 20, 30, 45])])
    return [*number(rng, amount), rng.choice(["minutes", "seconds", "hours"])]


def date(rng: Random) -> Words:
    name = rng.choice([rng.choice(DAYS), rng.choice(MONTHS)])
    tens = f"twenty {rng.choice(ORDINALS[:9])}"
    return [name, "the", *rng.choice([rng.choice(ORDINALS), tens, "thirty first"]).split()]


def please(rng: Random) -> Words:
    return ["please"] if rng.random() < 0.3 else []


def said_digits(rng: Random) -> Words:
    return digits(rng, 3, 8)


def labelled_digits(rng: Random) -> Words:
    label = rng.choice(["the number is", "call number", "my code is", "room number"])
    return label.split() + digits(rng, 3, 6)


def small_number(rng: Random) -> Words:
    return number(rng, rng.randint(10, 99))


def large_number(rng: Random) -> Words:
    return number(rng, rng.choice([rng.randint(100, 999), rng.randint(1000, 9999)]))


def time_told(rng: Random) -> Words:
    return rng.choice([["it", "is"], ["the", "time", "is"]]) + clock(rng) + day_part(rng)


def alarm(rng: Random) -> Words:
    start = rng.choice(["set an alarm at", "wake me up at", "wake me at"])
    return start.split() + clock(rng) + day_part(rng)


def timer(rng: Random) -> Words:
    return rng.choice(["set a timer for", "wait for"]).split() + duration(rng)


def switch(rng: Random) -> Words:
    state, room, device = rng.choice(["on", "off"]), rng.choice(ROOMS), rng.choice(DEVICES)
    return [*please(rng), "turn", state, "the", room, device]


def door(rng: Random) -> Words:
    verb, thing = rng.choice(["open", "close", "lock"]), rng.choice(["door", "window"])
    return [*please(rng), verb, "the", rng.choice(ROOMS), thing]


def weather(rng: Random) -> Words:
    start = rng.choice(["what is the weather in", "how is the weather in"]).split()
    return [*start, rng.choice(CITIES), *rng.choice([[], day(rng)])]


def call(rng: Random) -> Words:
    return ["call", rng.choice(NAMES), *rng.choice([[], ["at", *clock(rng)], day(rng)])]


def items(rng: Random) -> Words:
    first, second = rng.sample(ITEMS, 2)
    return rng.choice([[first], [first, "and", second]])


def reminder(rng: Random) -> Words:
    return ["remind", "me", "to", "buy", *items(rng), *day(rng)]


def shopping(rng: Random) -> Words:
    return ["add", *items(rng), "to", "my", "list"]


def music(rng: Random) -> Words:
    return ["play", "some", rng.choice(MUSIC), *rng.choice([[], ["in", "the", rng.choice(ROOMS)]])]


def color(rng: Random) -> Words:
    device = rng.choice(["light", "lights", "lamp"])
    return ["make", "the", rng.choice(ROOMS), device, rng.choice(COLORS)]


def dated(rng: Random) -> Words:
    return rng.choice(["my birthday is", "the meeting is on", "today is"]).split() + date(rng)


def message(rng: Random) -> Words:
    return ["send", "a", "message", "to", rng.choice(NAMES), *rng.choice([[], day(rng)])]


def money(rng: Random) -> Words:
    amount = number(rng, rng.randint(2, 999))
    if rng.random() < 0.5:
        return ["send", rng.choice(NAMES), *amount, "dollars"]
    return ["it", "costs", *amount, "dollars"]


def temperature(rng: Random) -> Words:
    return ["set", "the", rng.choice(ROOMS), "to", *number(rng, rng.randint(10, 30)), "degrees"]


def sum_asked(rng: Random) -> Words:
    left, right = (number(rng, rng.randint(0, 99)) for _ in range(2))
    return ["what", "is", *left, rng.choice(["plus", "minus", "times"]), *right]


def departure(rng: Random) -> Words:
    vehicle = rng.choice(["train", "bus", "plane"])
    return ["the", vehicle, "to", rng.choice(CITIES), "leaves", "at", *clock(rng)]


def phrase(rng: Random) -> Words:
    greeting = rng.choice(["hello", "good evening", "good morning", "thank you", "good night"])
    return rng.choice([rng.choice(PHRASES), f"{greeting} {rng.choice(NAMES)}"]).split()


RULES = [
    *(said_digits, said_digits, labelled_digits, small_number, large_number, large_number),
    *(time_told, alarm, timer, switch, door, weather, call, reminder, shopping, music, color),
    *(dated, message, money, temperature, sum_asked, departure, phrase),
]


def sentence(rng: Random) -> Words:
    return rng.choice(RULES)(rng)


FRENCH_SMALL = listed(
    "zéro un deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize"
    " dix-sept dix-huit dix-neuf"
)
FRENCH_TENS = {2: "vingt", 3: "trente", 4: "quarante", 5: "cinquante", 6: "soixante"}


def french_number(n: int) -> Words:
    """The words of 0 <= n < 10 000 in French."""
    if n < 20:
        return [FRENCH_SMALL[n]]
    if n < 60:
        return _french_tens(FRENCH_TENS[n // 10], n % 10)
    if n < 80:
        return _french_tens("soixante", n - 60)
    if n < 100:
        return ["quatre-vingts"] if n == 80 else ["quatre-vingt", FRENCH_SMALL[n - 80]]
    if n < 1000:
        hundreds, rest = divmod(n, 100)
        head = [] if hundreds == 1 else [FRENCH_SMALL[hundreds]]
        return [*head, "cent", *(french_number(rest) if rest else [])]
    thousands, rest = divmod(n, 1000)
    head = [] if thousands == 1 else [FRENCH_SMALL[thousands]]
    return [*head, "mille", *(french_number(rest) if rest else [])]


def _french_tens(tens: str, rest: int) -> Words:
    if not rest:
        return [tens]
    return [tens, *(["et"] if rest in (1, 11) else []), FRENCH_SMALL[rest]]


def french_sentence(rng: Random) -> Words:
    """One number, or a few small ones in a row."""
    if rng.random() < 0.25:
        return [w for _ in range(rng.randint(2, 4)) for w in french_number(rng.randint(0, 99))]
    return french_number(rng.randint(0, 10 ** rng.choice([2, 3, 4, 4]) - 1))


def bucket(words: Words) -> str:
    """Which part a sentence belongs to: "train", "validation" or "test", by its text alone.

    Short sentences are too few to divide, so all of them are "train".
    """
    if len(words) < 4:
        return "train"
    digest = hashlib.md5(" ".join(words).encode(), usedforsecurity=False).digest()
    return {0: "test", 1: "validation"}.get(digest[0] % 10, "train")
