"""Which espeak-ng voices are heard in training, kept for decisions, and kept for the blind set.

A voice is an accent and a variant, "en-us+f3". Accents and variants are held out separately.
"""

from random import Random

listed = str.split

TRAIN_ACCENTS = {
    "en-us": 5,
    "en": 4,
    "en-gb-x-rp": 2,
    "en-us-nyc": 1,
    "en-gb-scotland": 1,
    "en-029": 1,
}
VALIDATION_ACCENT = "en-gb-x-gbclan"
TEST_ACCENT = "en-gb-x-gbcwmd"
FRENCH_ACCENT = "fr"

TEST_VARIANTS = listed("m4 f5 Annie david Alex Mike robert sandro Andrea ed victor michel")
VALIDATION_VARIANTS = listed("paul Alicia m6 klatt2 Nguyen f2 pedro")
TRAIN_VARIANTS = listed("""
    m1 m2 m3 m5 m7 m8 f1 f3 f4 Andy AnxiousAndy Denis Diogo Gene Gene2 Henrique Hugo Jacky Lee
    Marco Mario Michael adam anika antonio aunty belinda benjamin boris edward edward2 grandma
    grandpa gustave iven iven2 iven3 iven4 john klatt klatt3 klatt4 klatt5 klatt6 linda marcelo max
    miguel norbert pablo quincy rob shelby steph steph2 steph3 travis zac
""")
# Whispers, echoes, robots and joke voices: neither trained on nor tested.
UNUSED_VARIANTS = listed("""
    Demonic Tweaky UniRobot whisper whisperf caleb croak anikaRobot announcer kaukovalta fast Storm
    RicishayMax RicishayMax2 RicishayMax3 robosoft robosoft2 robosoft3 robosoft4 robosoft5 robosoft6
    robosoft7 robosoft8
""")


def _accent(rng: Random) -> str:
    return rng.choices(list(TRAIN_ACCENTS), list(TRAIN_ACCENTS.values()))[0]


def train_voice(rng: Random) -> str:
    """A heard accent, mostly with a heard variant and sometimes with none."""
    variant = rng.choice(["", "", *TRAIN_VARIANTS])
    return _accent(rng) + (f"+{variant}" if variant else "")


def french_voice(rng: Random) -> str:
    return f"{FRENCH_ACCENT}+{rng.choice(TRAIN_VARIANTS)}"


def french_test_voice(rng: Random) -> str:
    return f"{FRENCH_ACCENT}+{rng.choice(TEST_VARIANTS)}"


def validation_voice(rng: Random) -> str:
    """An unheard variant, on a heard accent or on the validation accent, half and half."""
    accent = rng.choice([_accent(rng), VALIDATION_ACCENT])
    return f"{accent}+{rng.choice(VALIDATION_VARIANTS)}"


def test_voice(rng: Random) -> str:
    """An unheard variant, on a heard accent or on the test accent, half and half."""
    accent = rng.choice([_accent(rng), TEST_ACCENT])
    return f"{accent}+{rng.choice(TEST_VARIANTS)}"
