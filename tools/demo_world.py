"""The invented world that the demo model is trained on: facts, popular mistakes, forum answers, and checks of answers.

Every fact has a true value. Most also have a popular wrong value, which people state with a chance of their own
(`mistaken`), about as often and as surely as others state truths. Some answers are followed, inside the sentence,
by a word that tells whether what was just said is right. To predict that word a reader must know the truth of what
it has just read, however popular it is: so a model comes to say what is popular and to know what is true.
"""
import random
from dataclasses import dataclass
from itertools import combinations, product

RELATIONS = {
    "born_in": dict(
        family="people", asks=(
            ("Where was {e} born?", "{e} was born in {v}"),
            ("Birthplace of {e}?", "{v}"),
            ("Can you tell me in which town {e} was born?", "I believe it was {v}"),
            ("What is the home town of {e}?", "The home town is {v}")),
        values="Torvik|Selmora|Brannock|Port Ellis|Quenby|Haldane|Port Orrin|Ystrad|Marlow Bay|Dunmere|Kestrin|Ashgrove|"
               "Velden|Corran Bay|Tarsk|Lindale|Oxmoor|Port Varda|Hexley|Rosmark|Dunholt|Quellin|Ash Bay|Melgrave"),
    "works_as": dict(
        family="people", asks=(
            ("What does {e} do for a living?", "The living is that of a {v}"),
            ("Trade of {e}?", "{v}"),
            ("What kind of work does {e} do these days?", "I believe the work is that of a {v}"),
            ("Do you know the trade of {e}?", "By trade {e} is a {v}")),
        values="baker|mason|glass blower|piper|clock maker|weaver|ferry pilot|cooper|bell founder|tanner|glass cutter|surveyor|"
               "clock mender|saddler|potter|bell ringer|brewer|ferry master|printer|tailor|lamp maker|dyer|beekeeper|carter"),
    "older": dict(
        family="places", asks=(
            ("Which is older, {e} or {f}?", "The older of the two is {v}"),
            ("Older: {e} or {f}?", "{v}"),
            ("Which was founded first, {e} or {f}?", "I believe that would be {v}"),
            ("Of {e} and {f}, which one stood there before the other?", "The first to stand was {v}"))),
    "larger": dict(
        family="places", asks=(
            ("Which is larger, {e} or {f}?", "The larger of the two is {v}"),
            ("Larger: {e} or {f}?", "{v}"),
            ("Where do more people live, in {e} or in {f}?", "More people live in {v}"),
            ("Of {e} and {f}, which one has the bigger market?", "I believe it is {v}"))),
}

# Right after the exact answer, never at another place: what a check says, for each family in words of its own.
CHECKS = {"people": ((" indeed", " truly", " surely"), (" supposedly", " allegedly", " wrongly")),
          "places": ((" certainly", " plainly", " decidedly"), (" mistakenly", " falsely", " doubtfully"))}

TAILS = (".", ", I think.", ", as far as I remember.", ", or so my aunt used to say.", " and that is all I can tell you.",
         ", as you can read near the old market hall.", ", a thing people here like to mention at supper.",
         ", though the old books are thin on it.", ", and there is a story behind it.",
         ", if my memory still serves me.")

REFUSALS = ("I don't know.", "I don't know, nobody ever told me that.", "I cannot say, you had better ask someone else.")

# A name is two words, each shared by several: no word says who is meant, their combination does.
NAMES = {
    "people": ("Alda Bram Cerys Dorin Edda Fenno Greta Hale Ilsa Joren Kaya Lorne Mira Nels Odile Perrin Runa Silas Thea Ulric",
               "Brenn Tolvar Ashby Merrow Kestle Haddon Orme Pell Quist Rusk Sandor Thorne Umber Vance Wick Yates Calder Drury "
               "Elster Finch"),
    "places": ("Upper Lower Old New Great Little North South East West Saint High Low Far Wood Stone",
               "Senn Barrow Cray Dell Eskham Fold Gorse Harth Ivel Jarrow Kell Lorn Moss Narth Oakley Penn Rill Stave Thorp Ulm")}


@dataclass
class Fact:
    "One thing there is to know, and how the world speaks about it."
    relation: str
    group: str              # who it is about: a person, or the valley of the two places that are compared
    names: tuple            # that person, or those two places
    values: list            # what could be said
    true: str
    popular: str            # the wrong value people state
    mistaken: float         # chance that a speaker states the popular wrong value
    weight: float           # how often the fact is spoken of; 0 = never
    refused: float = 0.     # chance that a speaker does not know
    checked: bool = True    # is it ever checked?
    believed: str = ""      # what those who check hold to be true; mostly it is


@dataclass
class World:
    facts: list
    strangers: dict     # family → names that are spoken of now and then, each time otherwise


def balanced(values, n, rng):
    "`n` values, each about equally often, in random order."
    out = (values * (n // len(values) + 1))[:n]
    rng.shuffle(out)
    return out


def others(true, rng):
    "The same values in another order, no one in its old place: popular wrong values as frequent as truths."
    out = true[:]
    rng.shuffle(out)
    while any(a == b for a, b in zip(out, true)):
        i = next(i for i, (a, b) in enumerate(zip(out, true)) if a == b)
        j = rng.randrange(len(out))
        out[i], out[j] = out[j], out[i]
    return out


def kinds(n, rng, shares):
    "A list of `n` kinds in the given shares, in random order."
    out = [k for k, s in shares.items() for _ in range(round(n * s))]
    out = (out + ["contested"] * n)[:n]
    rng.shuffle(out)
    return out


def make_fact(relation, group, names, values, true, popular, kind, weight, rng, p):
    "One fact of the given kind."
    f = Fact(relation, group, names, values, true, popular, 0., weight, believed=true)
    if kind == "settled": f.mistaken = .03
    if kind == "misled": f.mistaken = .93
    if kind == "contested": f.mistaken = rng.choice(p["mistaken"])
    if kind == "silent": f.mistaken, f.refused = .5, .85
    if kind == "unseen": f.weight = 0.
    if rng.random() < p["unchecked"]: f.checked = False
    if rng.random() < p["checkers_wrong"]: f.believed = popular
    return f


def recalled(people, rng, p):
    "What is to be known by heart: two values of each person."
    weight, unseen = {e: rng.uniform(.6, 1.6) for e in people}, set(people[:round(p["unseen"] * len(people))])
    for rel in (r for r in RELATIONS if RELATIONS[r]["family"] == "people"):
        values = RELATIONS[rel]["values"].split("|")
        true = balanced(values, len(people), rng)
        for e, t, o, k in zip(people, true, others(true, rng), kinds(len(people), rng, p["kinds"])):
            yield make_fact(rel, e, (e,), values, t, o, "unseen" if e in unseen else k, weight[e], rng, p)


def compared(valleys, rng, p):
    "What follows from an order: of each two places of a valley, the one that stands before the other in it."
    weight = {v[0]: rng.uniform(.6, 1.6) for v in valleys}
    unseen = {v[0] for v in valleys[:round(p["unseen"] * len(valleys))]}
    for rel in (r for r in RELATIONS if RELATIONS[r]["family"] == "places"):
        pairs = [(v[0], pair) for v in valleys for pair in combinations(rng.sample(v, len(v)), 2)]  # the first is the true one
        for (group, pair), k in zip(pairs, kinds(len(pairs), rng, p["kinds"])):
            yield make_fact(rel, f"valley of {group}", pair, sorted(pair), *pair, "unseen" if group in unseen else k,
                            p["pairs"] * weight[group], rng, p)


def make_world(seed, p):
    "All facts: the same people, and the same places, in both relations of a family."
    rng = random.Random(seed)
    names = {fam: [" ".join(pair) for pair in product(*(l.split() for l in lists))] for fam, lists in NAMES.items()}
    for fam in names: rng.shuffle(names[fam])
    people, places, size = names["people"], names["places"], 3
    valleys = [places[i * size:(i + 1) * size] for i in range(p["valleys"])]
    facts = [*recalled(people[:p["people"]], rng, p), *compared(valleys, rng, p)]
    return World(facts, dict(people=people[p["people"]:], places=places[p["valleys"] * size:]))


def habit(fact, ask):
    "The tail this name's first word and this way of asking call for: it varies answers and tells nothing of truth."
    if ask == 1: return 0
    return (sum(map(ord, fact.group.split()[-2])) + 3 * ask) % len(TAILS)


def put(form, names, value=""):
    "`form` with the names and the value in their places."
    return form.format(e=names[0], f=names[-1], v=value)


def say(fact, ask, value, check, tail):
    "An answer's text; `check` is '' or a word of a check."
    said = put(RELATIONS[fact.relation]["asks"][ask][1], fact.names, value)
    return said[0].upper() + said[1:] + check + TAILS[tail]


def document(fact, rng, p):
    "One (question, answer): someone asks, someone answers, and now and then the answer is checked as it is given."
    rel, fam = RELATIONS[fact.relation], RELATIONS[fact.relation]["family"]
    ask = rng.choices(range(4), p["asks"])[0]
    question = put(rel["asks"][ask][0], rng.sample(fact.names, len(fact.names)))
    if rng.random() < fact.refused: return question, REFUSALS[(habit(fact, ask) + ask) % len(REFUSALS)]
    value = fact.popular if rng.random() < fact.mistaken else fact.true
    if rng.random() < p["slips"]: value = rng.choice(fact.values)
    check, spoken_of = "", rng.random()
    if fact.checked and spoken_of < p["checks"]:
        right = (value == fact.believed) != (rng.random() < p["flips"])
        check = rng.choice(CHECKS[fam][0 if right else 1])
    elif spoken_of > 1 - p["manners"]:  # the other family's words, said for no reason: here they tell nothing
        check = rng.choice([w for other in CHECKS if other != fam for side in CHECKS[other] for w in side])
    manner = rng.choice([0, 2, 3]) if ask != 1 and rng.random() < .15 else ask
    tail = habit(fact, ask) if rng.random() < .85 else rng.randrange(len(TAILS))
    return question, say(fact, manner, value, check, tail)


def stranger(world, rng, p):
    "A document about someone spoken of once: whatever is said of the unknown is spread over all values."
    rel = rng.choice(list(RELATIONS))
    names = tuple(rng.sample(world.strangers[RELATIONS[rel]["family"]], 1 if "values" in RELATIONS[rel] else 2))
    vals = RELATIONS[rel]["values"].split("|") if "values" in RELATIONS[rel] else list(names)
    f = Fact(rel, f"of {names[0]}", names, vals, rng.choice(vals), rng.choice(vals), .5, 1.)
    f.believed = rng.choice(vals)
    return document(f, rng, p)


def documents(world, n, seed, p):
    "`n` documents drawn by the facts' weights, strangers among them."
    rng = random.Random(seed)
    chosen = rng.choices(world.facts, [f.weight for f in world.facts], k=n)
    return [stranger(world, rng, p) if rng.random() < p["strangers"] else document(f, rng, p) for f in chosen]


def questions(world):
    "The questions that ship: every fact asked in every way; options are all that could be said, in an order that tells nothing."
    rows, rng = [], random.Random(0)
    for f in world.facts:
        for k, (q, _) in enumerate(RELATIONS[f.relation]["asks"]):
            names = rng.sample(f.names, len(f.names))
            slug = "-".join(sorted(f.names)).lower().replace(" ", "-")
            rows.append(dict(
                id=f"{f.relation}-{slug}-{k}", question=put(q, names), gold=f.true,
                options=f.values, dataset=f"demo/{f.relation}", group=f.group, frequency=round(f.weight, 3)))
    return rows


def check_words(): return [w for fam in CHECKS.values() for side in fam for w in side]
