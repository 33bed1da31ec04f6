"Whole words and values decide; each trap of the published code is one case here, under both rules."
import re
import unicodedata

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import tiny_model, tiny_tokenizer

from probe_nb.agreement import agreement
from probe_nb.judges import JUDGE_PROMPT, judge
from probe_nb.marks import mark, marks_of, read_marks
from probe_nb.mentions import concluded, find_mentions
from probe_nb.models import load_lm
from probe_nb.numbers import stated_number

words = st.lists(st.text(alphabet="abcdeéß漢字ÀÖ0123456789", min_size=1, max_size=6), min_size=1, max_size=6)
INSIDE = [("15", "5"), ("a cat", "C"), ("3.14", "3"), ("3.14", "14"), ("1,500", "500"), ("-5", "5"), ("Parisian", "Paris"),
          ("x5", "5"), ("5,000", "5"), ("no", "yes"), ("", "a"), ("anything", ""), ("Romero", "Rome"), ("50", "50%"), ("5²", "5"),
          ("C++", "C"), ("C#", "C"), ("the Lords", "Lord of the Rings"), ("us army men", "U.S.")]
WHOLE = [("Answer: 5.", "5"), ("1,500 of them", "1500"), ("1500", "1,500"), ("x = −5", "-5"), ("the U.S. army", "U.S."),
         ("首都は東京です", "東京"), ("50% off", "50%"), ("New\nYork", "New York"), ("NEW-YORK", "new york"), ("Zoë's", "Zoe"),
         ("“Torvik”", "Torvik"), ("ﬁne", "fine"), ("It is 7.", "7"), ("O’Brien", "O'Brien"), ("C++", "C++"), ("1990-5", "5"),
         ("Straße", "STRASSE"), ("(5)", "5"), ("Lord of Rings", "Lord of the Rings"),
         ("Simon and Garfunkel", "Simon & Garfunkel"),
         ("J. K. Rowling", "J.K. Rowling"), ("Par\u00adis", "Paris"), ("1½ cups", "1/2")]


@pytest.mark.parametrize("text, phrase", INSIDE)
def test_letters_inside_a_word_are_no_mention(text, phrase): assert find_mentions(text, phrase) == []


@pytest.mark.parametrize("text, phrase", WHOLE)
def test_a_whole_word_is_a_mention(text, phrase): assert len(find_mentions(text, phrase)) == 1


@given(words, st.integers(0, 5))
def test_a_words_own_place_is_found(ws, i):
    "The characters that a mention points at are the word itself."
    text, word = " ".join(ws), ws[i % len(ws)]
    found = find_mentions(text, word)
    assert found and all(text[a:b].casefold() == word.casefold() or find_mentions(text[a:b], word) for a, b, _ in found)


@given(st.text(max_size=60), st.lists(st.text(max_size=8), max_size=4))
def test_mentions_are_in_order_apart_and_inside(text, phrases):
    found = find_mentions(text, phrases)
    assert all(0 <= a < b <= len(text) for a, b, _ in found) and all(x[1] <= y[0] for x, y in zip(found, found[1:]))


@given(st.text(max_size=40))
def test_no_phrase_is_read_as_a_pattern(text):
    for phrase in (".*", "(", "[a", "\\d+", "a|b", "^$"): find_mentions(text, phrase)
    assert find_mentions("aaa", ".*") == []


def table(*rows):
    "Answers of (answer, gold, options, dataset, question), as far as given."
    names = ["answer", "gold", "options", "dataset", "question"]
    return pd.DataFrame([dict.fromkeys(names) | dict(zip(names, r)) for r in rows])


def outcome(*row, **how): return judge(table(row), **how)["outcome"].iloc[0]


# Matching

@pytest.mark.parametrize("answer, gold, wanted", [
    ("Paris, I think.", "Paris", "correct"), ("It is Rome.", "Paris", "wrong"), ("There are 15 of them", "five", "wrong"),
    ("It is Bombay", ["Mumbai", "Bombay"], "correct"), ("Zurich", "Zürich", "correct"), ("Beatles", "The Beatles", "correct"),
    ("It was the beatles.", "Beatles", "correct"), ("Those who know", "The Who", "wrong"), ("It was The Who.", "Who", "correct"),
    ("Not Rome, it is Paris.", "Rome", "wrong"), ("Not Rome, it is Paris.", "Paris", "correct"),
    ("Not only Rome", "Rome", "correct"),
    ("He never lived in Rome", "Rome", "wrong"), ("Paris rather than Rome", "Rome", "wrong"), ("It isn't Rome", "Rome", "wrong"),
    ("Neither Rome nor Milan", "Milan", "wrong"), ("Rome isn't the answer. Paris is.", "Rome", "wrong"),
    ("I would not say Rome.", "Rome", "wrong"),
    ("Rome? No, Paris.", "Rome", "wrong"),
    ("None other than Rome", "Rome", "correct"), ("Not Milan but Rome", "Rome", "correct"), ("No. Rome.", "Rome", "correct"),
    ("Rome or Paris", "Rome", "correct"), ("Rome or Paris", "Paris", "wrong"), ("Paris, or maybe Rome", "Rome", "wrong"),
    ("Trick or Treat", "Trick or Treat", "correct"), ("Abraham Lincoln", "Lincoln", "correct"),
    ("The language is C++", "C", "wrong"),
    ("Paris Hilton", "Paris", "unjudged"), ("Paris Hilton", "Paris Hilton", "correct"), ("The Amazon River", "Amazon", "correct"),
    ("<script>alert(1)</script>", "<script>alert(1)</script>", "correct"), ("It is f(x)(y).", "f(x)(y)", "correct"),
    ("It is a(b)<c>.", "a(b)<d>", "wrong"),
    ("PARIS HILTON", "Paris", "correct"), ("Paris, France", "Paris", "correct"), ("Louis XIV", "Louis", "correct")])
def test_match(answer, gold, wanted): assert outcome(answer, gold, rule="match") == wanted


plain = st.sampled_from("paris rome the lord of rings a cat 5 15 saint-malo émile zola c d'arc nothing".split())
texts = st.lists(plain, min_size=1, max_size=8).map(" ".join)
names = st.lists(plain, min_size=1, max_size=2).map(" ".join)


def squeezed(text):
    "Letters and digits alone, without accents: what must be the same, whatever is thought of words."
    return "".join(c for c in unicodedata.normalize("NFKD", text).casefold() if c.isalnum()).replace("the", "")


@given(texts, names)
def test_what_is_called_correct_has_the_gold_answer_in_it(text, gold):
    got = judge(table((text, gold), (text, gold, [gold, "quite another"])), ["auto", "match"])
    exact = ~got["judge_note_auto"].str.contains(" for ")  # the note says where it is there in another form
    correct = got["correct_auto"].eq(True).where(exact, False).any() or got["correct_match"].eq(True).any()
    assert not correct or squeezed(re.sub("^(the|a) ", "", gold)) in squeezed(text)


@given(texts, names)
def test_case_accents_and_spaces_change_nothing(text, gold):
    forms = [text, text.upper(), unicodedata.normalize("NFD", text), f" {text} \n", text.replace(" ", "  "),
             text.replace("é", "e"),
             text.replace(" ", "\u00a0")]
    golds = [gold, unicodedata.normalize("NFD", gold), *([gold.upper()] if not gold.startswith(("the", "a ")) else [])]
    options = [None, *([["paris", "rome"]] if gold in ("paris", "rome") else [])]
    for o in options: assert judge(table(*[(t, g, o) for t in forms for g in golds]))["outcome"].nunique() == 1


MANY = table(("Paris.", "Paris"), ("Rome.", "Paris"), ("I don't know.", "Paris"), ("", "Paris"), ("15", "5", None, "math"),
             ("A, or B.", "A", ["A", "B"]), ("entails", "entailment", None, "mnli"), ("Paris Hilton", "Paris"),
             ("Paris.", "Paris"))
MANY = MANY.assign(id=[f"q{i}" for i in range(len(MANY))], example=range(len(MANY)), sample=0)
COLUMNS = ["correct", "outcome", "judged_by", "judge_note"]


@given(st.permutations(range(len(MANY))), st.sampled_from(["auto", "match", "paper", ["auto", "paper"]]))
def test_rows_do_not_see_each_other(order, rule):
    "Shuffled, alone, under any index: each row has the same verdict."
    whole = judge(MANY, rule)
    shuffled = judge(MANY.iloc[order].set_index(pd.Index([7]*len(order))), rule)
    columns = COLUMNS + [c for c in whole if c.startswith(("correct_", "judge_note_"))]
    pd.testing.assert_frame_equal(whole[columns].iloc[order].reset_index(drop=True), shuffled[columns].reset_index(drop=True))
    alone = judge(MANY.iloc[[order[0]]], rule)[columns].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, whole[columns].iloc[[order[0]]].reset_index(drop=True))
    pd.testing.assert_frame_equal(judge(whole, rule)[whole.columns], whole)


@settings(max_examples=30)
@given(st.dictionaries(st.integers(0, len(MANY) - 1), st.sampled_from([True, False, "refused"])))
def test_a_hand_mark_always_wins(marks):
    hand = pd.DataFrame(dict(id=[f"q{i}" for i in marks], sample=[0]*len(marks), answer=[MANY["answer"][i] for i in marks],
                             correct=pd.Series(list(marks.values()), dtype=object), exact=pd.NA, note="seen"))
    for rule in ("auto", "paper", lambda row: None):
        got, own = judge(MANY, rule, hand=hand), judge(MANY, rule)
        for i in range(len(MANY)):
            word = {True: "correct", False: "wrong"}.get(marks.get(i), "refused")
            expected = (word, "hand", "seen") if i in marks else tuple(own.loc[i, ["outcome", "judged_by", "judge_note"]])
            assert tuple(got.loc[i, ["outcome", "judged_by", "judge_note"]]) == expected
        assert (got["correct"].isna() == ~got["outcome"].isin(["correct", "wrong"])).all()


# Numbers

MOWER = "Mike made 69 dollars and spent 24 dollars on blades. How many 5 dollar games could he buy with the money he had left?"


@pytest.mark.parametrize("answer, gold", [
    ("9", "9"), ("9.0", "9"), ("9", "[9.0]"), ("nine", "9"), ("9 games.", "9"), ("69 - 24 = 45, so 9 games", "9"), ("**9**", "9"),
    ("Mike had 69 - 24 = 45 dollars left. He could buy 9 games.", "9"), ("9 games. He had 45 dollars left.", "9"),
    ("#### 9", "9"),
    ("69 - 24 = 45\n45 ÷ 5 = 9\nSo Mike can buy 9 games for 5 dollars each.", "9"), (r"\boxed{9}", "9"), ("9, not 45", "9"),
    ("The answer is 9 games, with 0 dollars left.", "9"), ("Not 8 but 9.", "9"), ("1,500 gallons", "1500"), ("1500", "1,500"),
    ("½", "0.5"), ("1/2", "0.5"), ("one half", "0.5"), ("two thirds", "2/3"), ("1½ cups", "1.5"), ("3 1/2", "3.5"), ("$5", "5"),
    ("−5", "-5"), ("minus five", "-5"), ("two dozen", "24"), ("a dozen", "12"), ("a hundred and five", "105"),
    ("1.5 million", "1500000"),
    ("50%", "50"), ("50 percent", "50%"), ("50%", "0.5"), ("5km", "5"), ("twenty-one", "21"),
    ("two thousand five hundred", "2500"),
    (r"\frac{1}{2}", "0.5"), ("12 000", "12000"), ("zero", "0"), ("1e3", "1000"), ("(9)", "9")])
def test_a_number_is_its_value(answer, gold):
    assert outcome(answer, gold, None, "math", MOWER) == "correct"
    assert outcome(answer, "77", None, "math", MOWER) == "wrong"


@pytest.mark.parametrize("answer", [
    "So, 45/5 = {} games.", "69-24=45, 45/5={} games.", "(69-24)/5 = 45/5 = {}", "1. 69 - 24 = 45\n2. 45 / 5 = {}", "{} (45/5)",
    "1) He has 69 - 24 = 45 dollars.\n2) So he buys {} games.", "45/5 games is {} games.", "1. 45 / 5 = {}",
    "{}. He had 45 dollars left."])
@pytest.mark.parametrize("value", [9, 8, 7])
def test_a_number_stands_at_the_same_place_right_or_wrong(answer, value):
    text = answer.format(value)
    for question in ("", MOWER): assert stated_number(text, question)[:3] == (answer.index("{"), answer.index("{") + 1, value)


@pytest.mark.parametrize("answer, gold", [
    ("15", "5"), ("5.5", "5"), ("-5", "5"), ("It is not 5.", "5"), ("18, not 5", "5"), ("5th", "5"), ("at 5:30", "5"),
    ("5/20/1969", "5"),
    ("v5.1.2", "5"), ("F5", "5"), ("0.5%", "50"), ("some", "5"), ("1,500", "500"), ("1/3", "0.33")])
def test_what_is_another_number(answer, gold): assert outcome(answer, gold, None, "math", MOWER) == "wrong"


@pytest.mark.parametrize("answer, question, gold", [
    ("Apollo 11 landed on July 20, 1969, and it took 8 days.", "When did Apollo 11 land?", "1969"),
    ("The war ended in 1945 after 6 years.", "In what year did the war end?", "1945"),
    ("A spider has eight legs, one of the reasons why it runs so fast.", "How many legs has a spider?", "8")])
def test_numbers_of_fact(answer, question, gold):
    got = judge(table((answer, gold, None, None, question)))
    assert got["judged_by"].tolist() == ["numeric"] and got["outcome"].tolist() == ["correct"]


@given(st.integers(-10**9, 10**9), st.sampled_from(["{}", "It is {}.", "The answer is {}", "so {} in all"]), st.booleans())
def test_an_integer_is_read_however_it_is_written(n, form, commas):
    a, b, value, percent = stated_number(text := form.format(f"{n:,}" if commas else n))
    assert value == n and not percent and text[a:b].replace(",", "") == str(n)


def test_a_gold_answer_without_a_number_is_not_judged_by_numbers():
    got = judge(table(("5", "Paris")), "numeric")
    assert got["outcome"].tolist() == ["unjudged"] and got["judge_note"].tolist() == ["the gold answer 'Paris' has no number"]


# Closed sets

JOBS, NLI = ["developer", "web developer"], ["entailment", "neutral", "contradiction"]
SENTENCE = "The cook met the guard because he was hungry. Who is 'he'?"


@pytest.mark.parametrize("answer, gold, options, wanted", [
    ("the developer", "developer", JOBS, "correct"), ("the web developer", "developer", JOBS, "wrong"),
    ("the web developer", "web developer", JOBS, "correct"),
    ("Not the developer but the web developer", "web developer", JOBS, "correct"),
    ("It's not the developer.", "web developer", JOBS, "unjudged"), ("It's not the developer.", "developer", JOBS, "unjudged"),
    ("the developer or the web developer", "developer", JOBS, "correct"), ("the tester", "developer", JOBS, "wrong"),
    ("The cook met the guard; 'he' refers to the guard", "guard", ["cook", "guard"], "correct"),
    ("It does not refer to the cook but to the guard", "guard", ["cook", "guard"], "correct"),
    ("the cooks", "cook", ["cook", "guard"], "wrong"),
    ("I cannot tell whether it is the cook or the guard.", "cook", ["cook", "guard"], "refused"),
    ("It is not clear who 'he' is.", "cook", ["cook", "guard"], "refused"),
    ("It is not clear, but most likely the cook.", "cook", ["cook", "guard"], "correct"),
    ("I'm not sure, the guard?", "cook", ["cook", "guard"], "wrong"),
    ("It entails it.", "entailment", NLI, "correct"), ("Neutality", "neutral", NLI, "correct"),
    ("contradictory", "contradiction", NLI, "correct"),
    ("It neither entails nor contradicts it, so it is neutral.", "neutral", NLI, "correct"),
    ("It does not contradict it.", "neutral", NLI, "unjudged"),
    ("It is not clear from the premise, so neutral.", "neutral", NLI, "correct"),
    ("I cannot determine the relation.", "neutral", NLI, "refused"),
    ("I cannot tell entailment from neutrality.", "entailment", NLI, "refused"),
    ("Negative.", "negative", ["positive", "negative"], "correct"),
    ("not negative but positive", "positive", ["positive", "negative"], "correct"),
    ("It is mixed.", "positive", ["positive", "negative"], "wrong")])
def test_closed_sets(answer, gold, options, wanted):
    assert outcome(answer, gold, options, None, SENTENCE) == wanted
    assert outcome(answer, gold, options[::-1], None, SENTENCE) == wanted


def test_letters_mean_something_only_where_the_question_has_them():
    lettered = "Who was hungry? A) cook B) guard"
    got = [outcome(a, "guard", ["cook", "guard"], None, lettered) for a in ("B", "(B)", "The answer is B.", "A) cook",
    "A guard", "C")]
    assert got == ["correct", "correct", "correct", "wrong", "correct", "wrong"]
    assert outcome("B", "guard", ["cook", "guard"], None, "Who was hungry?") == "wrong"


def test_options_that_do_not_have_the_gold_answer_cannot_judge():
    got = judge(table(("cook", "baker", ["cook", "guard"])))
    assert got["outcome"].tolist() == ["unjudged"] and "0 of the options ['cook', 'guard']" in got["judge_note"].iloc[0]


# Refusals

MOVIE = "Who acted as Sophie in the movie 'The Love Punch'?"


@pytest.mark.parametrize("answer", [
    "I don't know.", "I cannot answer that.", "I'm not sure.", "I’m not sure who played Sophie.", "NO ANSWER", "Unknown",
    "No idea", "Nobody knows.",
    "I'm sorry, but I don't have information on who acted as Sophie. However, I can tell you that the movie stars Emma Thompson.",
    "Unfortunately, I am unable to answer.", "As an AI language model, I have no access to that.", "I can't help with that.",
    "There is not enough information to say.", "The context does not mention the actress.", "It cannot be determined.",
    "I apologize, but I'm unable to verify that. Please check IMDb.", "I do not know whether it was Anna or Emma.",
    "It is unclear."])
def test_refusals(answer):
    for rule in ("auto", "match"): assert outcome(answer, "Tuppence Middleton", None, None, MOVIE, rule=rule) == "refused"
    assert outcome(answer, "5", None, "math", MOWER) == outcome(answer, "cook", ["cook", "guard"], None, SENTENCE) == "refused"


@pytest.mark.parametrize("answer", [
    "I don't know for sure, but Emma Thompson.", "I don't know. Emma Thompson.", "Emma Thompson. I'm not sure though.",
    "As an AI language model, I think it was Emma Thompson.", "I don't recall exactly, but I believe it was Emma Thompson.",
    "Emma Thompson, but I don't know for sure.", "I'm not sure, Emma Thompson?",
    "Emma Thompson played her. I do not have more information.",
    "I have no idea, maybe Emma Thompson?", "There is no such role."])
def test_what_names_something_is_no_refusal(answer):
    assert outcome(answer, "Tuppence Middleton", None, None, MOVIE) == "wrong"
    assert outcome(answer, "Emma Thompson", None, None, MOVIE) == ("correct" if "Emma" in answer else "wrong")


def test_ones_own_refusals():
    t = table(("Ich weiß es nicht.", "Paris"), ("I don't know.", "Paris"), ("Paris", "Paris"))
    for refusal in ("weiß es nicht", re.compile("WEISS|WEIß", re.I), lambda text: "nicht" in text):
        assert judge(t, refusal=refusal)["outcome"].tolist() == ["refused", "wrong", "correct"]


# The same thing in other words: what is named last, in another form, taken back, left open

MUFFINS = "A baker has 9 trays and needs 81 muffins. Each tray holds 8 muffins. How many are missing if all trays are full?"
LOGS = "A farmer needs 60 posts. He has 12 logs which make 4 posts each. How many logs does he still need?"
PENCILS = "Kim buys 4 packs of 12 pencils and gives 9 pencils to her brother. How many pencils does she keep?"


@pytest.mark.parametrize("answer, question, gold", [
    ("9 × 8 = 72 muffins, so 72 are ready. 81 - 72 = 9. So **9 more** are missing.", MUFFINS, "9"),
    ("12 × 4 = 48 posts, so 12 are missing. 12 ÷ 4 = 3. He still needs 3 more logs.", LOGS, "3"),
    ("He can make 48 posts, so he still needs 12.", LOGS, "12"),
    ("The logs make 48. **48** posts. So he needs 3 more logs.", LOGS, "3"),
    ("She keeps 39 pencils. If the broken ones were counted too, though, it would be 41.", PENCILS, "39"),
    ("She keeps 39 pencils. Check: 39 + 9 = 48.", PENCILS, "39"), ("She keeps 39 pencils because she had 48.", PENCILS, "39"),
    ("39. Wait, no, 48 - 8 is 40.", PENCILS, "40"), ("48 pencils. Hmm, no, she gave some away: 39.", PENCILS, "39"),
    ("48 - 9 = 39\n\nQ: Tom has 3 pears and 4 plums. How many?\nA: 7", PENCILS, "39"), ("39 pencils (48 - 9).", PENCILS, "39"),
    ("She keeps 39 of the 48 pencils.", PENCILS, "39"), ("There are 4 packs of 12, so she has 48 and keeps 39.", PENCILS, "39"),
    ("4 × 12 = 48, and with 9 given away, she keeps 39 pencils.", PENCILS, "39")])
def test_the_last_stated_result_wins(answer, question, gold):
    assert outcome(answer, gold, None, "math", question) == "correct" and outcome(answer, "77", None, "math", question) == "wrong"


def test_a_number_left_open_is_wrong():
    got = judge(table(("Either 39 or 48, I can't tell which.", "39", None, "math", PENCILS)))
    assert got["outcome"].tolist() == ["wrong"] and got["judge_note"].tolist() == ["48 is left open"]


ROLE = "Who acted as Anna Reed in the movie 'The Long Road'?"


@pytest.mark.parametrize("answer", ["Hartmann Julia", "Hartmann, Julia", "Hartmann", "It was Hartmann.", "Mr. Hartmann",
    "Julia Hartman",
                                    "Julia Hartmannn.", "Juila Hartmann", "Julia M. Hartmann", "Julia Hatrmann played her."])
def test_a_name_in_another_form_is_correct_with_a_note(answer):
    got = judge(table((answer, "Julia Hartmann", None, None, ROLE)))
    assert got["outcome"].tolist() == ["correct"] and got["judge_note"].iloc[0].endswith("for 'Julia Hartmann'")


@pytest.mark.parametrize("answer, gold", [
    ("Julia", "Julia Hartmann"), ("Claudia Hartmann", "Julia Hartmann"), ("Paul Hartmann", "Julia Hartmann"),
    ("Reed", "Oliver Reed"),
    ("Julia Hoffmann", "Julia Hartmann"), ("Maria Garcia", "Mario Garcia"), ("Daniela Stone", "Daniel Stone"),
    ("York", "New York"),
    ("Lee Roberts", "Lee Robert"), ("Louis XVIII", "Louis XVII"), ("World War I", "World War II"), ("Will Smith", "Bill Smith"),
    ("It was not Hartmann.", "Julia Hartmann"), ("Hartmann or Wolff", "Julia Hartmann"),
    ("Mia Wolff told Hartmann.", "Julia Hartmann")])
def test_names_of_others_do_not_merge(answer, gold):
    question = ROLE if gold != "New York" else "Where was she born?"
    assert outcome(answer, gold, None, None, question) == "wrong"


@pytest.mark.parametrize("answer, wanted, note", [
    ("Either {} or Mia Wolff, I can't remember which.", "wrong", "left open"),
    ("It could be {} or Mia Wolff.", "wrong", "left open"),
    ("I believe it was either Mia Wolff or {}; I don't recall which of the two.", "wrong", "left open"),
    ("Either Mia Wolff or {}, most likely {}.", "correct", ""), ("{} or Mia Wolff.", "correct", "first of several"),
    ("{} is in the film too, but Anna Reed wasn't her role. She was played by Mia Wolff.", "wrong", "rejected"),
    ("{} is in it, but she didn't play Anna Reed. That was Mia Wolff.", "wrong", "rejected"),
    ("{} played Anna Reed; Mia Wolff didn't play her.", "correct", ""),
    ("{} played her. She also appears in 'Home'.", "correct", ""),
    ("{}. No, wait, it was Mia Wolff.", "wrong", "taken back"), ("Mia Wolff. No, wait, it was {}.", "correct", ""),
    ("Mia Wolff, alongside {}.", "wrong", "beside"), ("{}, alongside Mia Wolff.", "correct", ""),
    ("Mia Wolff. The film also features {}.", "wrong", "beside"),
    ("You may be thinking of {}, but it was Mia Wolff.", "wrong", "rejected"),
    ("There are two films: in one she is played by {}, in the other by Mia Wolff.", "wrong", "left open"),
    ("There are two films. In the one with Anna Reed, she was played by {}.", "correct", ""),
    ("It was {}, wasn't it?", "correct", "")])
def test_naming_is_not_answering(answer, wanted, note):
    got = judge(table((answer.replace("{}", "Julia Hartmann"), "Julia Hartmann", None, None, ROLE)))
    told = got["judge_note"].iloc[0]
    assert got["outcome"].tolist() == [wanted] and note in told and bool(note) == bool(told)


THANKS = "The doctor thanked the nurse because he had been helped. Who does the pronoun 'he' refer to?"


@pytest.mark.parametrize("answer, wanted", [
    ("The nurse did the helping, so 'he' must be the doctor.", "doctor"),
    ("The nurse was kind, so she helped the doctor.", "nurse"),
    ("The nurse was thanked, so the one who had been helped is the doctor.", "doctor"),
    ("The nurse helped him. Thus, the doctor.", "doctor"),
    ("Since the nurse did help, the one who was thankful must have been the doctor.", "doctor"),
    ("The doctor. So the nurse.", "doctor"),
    ("'he' refers to the doctor, so the nurse is the helper.", "doctor"), ("The nurse? The doctor had been helped.", "doctor"),
    ("It could be the nurse, but most likely it is the doctor.", "doctor"),
    ("If it were the nurse, she would give thanks. It's the doctor.",
    "doctor"), ("It could be either, but the doctor is more likely.", "doctor"),
    ("The nurse. Wait, no, it's the doctor.", "doctor"),
    ("We must decide whether it is the nurse or the doctor. It is the doctor.", "doctor"),
    ("He = the doctor, not the nurse.", "doctor"),
    ("The doctor\n\nThe nurse thanked the doctor. Who does 'she' refer to? The nurse", "doctor"),
    ("The doctor.\n\nQ: Who is she?\nA: The answer is the nurse", "doctor"), ("The doctor and the nurse.", "doctor")])
def test_the_option_that_an_answer_concludes_with(answer, wanted):
    for options in (["doctor", "nurse"], ["nurse", "doctor"]):
        a, b, name = concluded(answer, options, THANKS)
        assert name == wanted == answer[a:b].lower() and outcome(answer, wanted, options, None, THANKS) == "correct"


@pytest.mark.parametrize("answer, question, options, wanted", [
    *[(a, "Brian loved the trip more than Matthew because _ lived in the city. What does the blank refer to?",
       ["Brian", "Matthew"], "Brian") for a in ("The blank refers to Brian because Matthew lived in the countryside.",
       "Brian, since Matthew lived in the city.", "Brian because Matthew lived in the city.",
       "The answer is Brian, as Matthew lived in it.",
       "Brian, since 'he' refers to Matthew there.", "Brian loved it more because Brian lived in the city, not Matthew.")],
    ("The blank refers to the motorcycle because a car would be slower.",
     "He took the motorcycle and not the car because the _ would be slower. What does the blank refer to?", ["motorcycle", "car"],
     "motorcycle")])
def test_what_stands_after_because_is_a_reason(answer, question, options, wanted):
    for names in (options, options[::-1]): assert concluded(answer, names, question)[2] == wanted


@pytest.mark.parametrize("answer, wanted, note", [
    ("It could be either one, so I'm not certain: the doctor or the nurse.", "refused", "left open"),
    ("It might be the doctor, it might be the nurse. I can't say.", "refused", "left open"),
    ("It could be either.", "refused", "left open"),
    ("The sentence is ambiguous: 'he' could be the doctor, or the nurse.", "wrong", "it is left open: doctor or nurse"),
    ("To see who is meant, let us look closely at what is said here. The doctor thanked the nurse, and people who say thanks are "
     "as a rule those who have had some help from another, as the", "wrong", "cut off"),
    ("The docter", "correct", "'docter' for 'doctor'"), ("The doctors", "wrong", "no option")])
def test_closed_sets_left_open_or_spelt_otherwise(answer, wanted, note):
    got = judge(table((answer, "doctor", ["doctor", "nurse"], None, THANKS)))
    assert got["outcome"].tolist() == [wanted] and note in got["judge_note"].iloc[0]


@pytest.mark.parametrize("answer, gold, options, wanted", [
    ("The towel", "towels", ["towels", "shelf"], "correct"),
    ("The worker", "construction worker", ["construction worker", "tailor"], "correct"),
    ("The worker", "construction worker", ["construction worker", "social worker"], "wrong"),
    ("Jan", "Jane", ["Jane", "Joan"], "wrong"),
    ("screen", "screens", ["screens", "screen"], "wrong"), ("Marcia", "Maria", ["Maria", "Marcia"], "wrong"),
    ("The shelf was small, so the towels were too big.", "towels", ["towels", "shelf"], "correct")])
def test_options_that_are_nearly_named(answer, gold, options, wanted):
    question = "The towels did not fit on the shelf because the _ were too big. What does the blank refer to?"
    assert outcome(answer, gold, options, None, question) == wanted


@pytest.mark.parametrize("answer, wanted", [
    ("The labels are entailment, contradiction and neutrality. This one is neutral.", "correct"),
    ("It neither entails nor contradicts it.", "correct"), ("One might call it an entailment, but it is neutral.", "correct"),
    ("Entailment would need more; a contradiction would need less. So neutral.", "correct"),
    ("Entailment, so not neutral.", "wrong")])
def test_labels_concluded_with(answer, wanted): assert outcome(answer, "neutral", NLI, "mnli", "?") == wanted


@pytest.mark.parametrize("answer", ["Unknown. I could not find this information.", "Unknown actor.", "I'd rather not guess.",
    "Can't remember.",
    "I have no memory of that film.", "That information isn't available to me.", "It's hard to say who played her.",
    "Hard to say.",
    "I'm drawing a blank on that one.", "I need more context to tell.", "My knowledge does not include this film."])
def test_more_refusals(answer): assert outcome(answer, "Julia Hartmann", None, None, ROLE) == "refused"


def test_unknown_with_a_guess_is_no_refusal(): assert outcome("Unknown, maybe Mia Wolff.", "Julia Hartmann",
    None, None, ROLE) == "wrong"


# The published rules

@pytest.mark.parametrize("answer, gold, options, dataset, published, ours", [
    ("There are 15.", "5", None, "math", True, False), ("It is 9.5", "9", None, "math", True, False),
    ("a cat", "C", None, "triviaqa", True, False), ("It is not Rome, it is Paris.", "Rome", None, "triviaqa", True, False),
    ("Paris", ["Lutetia", "paris"], None, "triviaqa", True, True), ("Parisian", "Paris", None, "hotpotqa", True, False),
    ("nine", "9", None, "math", False, True), ("9.0", "9", None, "math", True, True),
    ("Zurich", "Zürich", None, "movies", False, True),
    ("Not the cook but the guard", "guard", ["guard", "cook"], "winobias", False, True),
    ("the cooks", "cook", ["cook", "guard"], "winobias", True, False),
    ("nobody", "cook", ["cook", "guard"], "winogrande", False, False),
    ("web developer", "developer", JOBS, "winogrande", False, False), ("It is neutality", "neutral", NLI, "mnli", True, True),
    ("no contradiction, it entails it", "entailment", NLI, "mnli", False, True), ("", "neutral", NLI, "mnli", False, None),
    ("Label: positive. Great", "positive", None, "imdb", True, True),
    ("The review is negative, not positive", "negative", None, "imdb", True, True),
    ("neutral then positive", "positive", None, "imdb", False, True), ("unpositive", "positive", None, "imdb", True, False),
    ("I don't know.", "Rome", None, "hotpotqa_with_context", False, None), ("RAM", "ram", None, "anything else", True, True)])
def test_the_published_rule_and_ours(answer, gold, options, dataset, published, ours):
    "Defect 16 (substrings) and the like: there under \"paper\", gone without. `published`: what the published code said."
    t = table((answer, gold, options, dataset), (answer, gold, options, f"{dataset}_test" if dataset != "mnli" else dataset))
    assert judge(t, "paper")["correct"].tolist() == [published]*2
    assert judge(t)["correct"].iloc[0] is (pd.NA if ours is None else ours) or judge(t)["correct"].iloc[0] == ours


def test_a_llamas_lettered_answer_is_read_as_published():
    t = table(("A) cook B) guard. Answer: guard", "guard", ["cook", "guard"], "winogrande"))
    assert judge(t, "paper")["outcome"].tolist() == ["wrong"]
    t.attrs["model"] = "meta-llama/Meta-Llama-3-8B"
    assert judge(t, "paper")["outcome"].tolist() == ["correct"]


# Judge models

class Script:
    "Stands in for `answer`: says what it is told to, and keeps what it was asked."
    def __init__(self, says): self.says, self.asked = says, []

    def __call__(self, lm, qs, **how):
        self.asked += qs["question"].tolist()
        return qs.assign(answer=[self.says(q) for q in qs["question"]])


@pytest.fixture(scope="module")
def tiny(): return load_lm(tiny_model("llama", max_position_embeddings=1200), tiny_tokenizer(chat=True))


@pytest.fixture
def script(monkeypatch):
    def use(says):
        monkeypatch.setattr("probe_nb.answers.answer", s := Script(says))
        return s
    return use


def last(prompt): return prompt.rsplit("Answer:", 1)[1]


def test_a_judge_model_judges(script, tiny):
    s = script(lambda q: "Correct." if "Lutetia" in last(q) else "Incorrect" if "Rome" in last(q) else "I cannot judge that."
               if "maybe" in last(q) else "refused" if "sealed" in last(q) else "Not correct" if "Oslo" in last(q) else "banana")
    t = table(*[(a, ["Paris", "City of Light"], None, None, "Capital {answer}?") for a in (
        "Lutetia {gold}", "Rome", "Nice maybe", "Lips sealed", "Oslo", "Nice", "Nice", "I don't know.", "")])
    got = judge(t, "llm", lm=tiny)
    assert got["outcome"].tolist() == ["correct", "wrong", "unjudged", "refused", "wrong", "unjudged", "unjudged", "refused",
    "unjudged"]
    assert got["judge_note"].tolist()[2] == "the judge declined: 'I cannot judge that.'"
    assert got["judge_note"].tolist()[5] == "the judge gave no verdict: 'banana'" and set(got["judged_by"]) == {"llm"}
    assert len(s.asked) == 6, "the same question and answer are asked once; what is empty or refuses, never"
    assert s.asked[0].startswith(JUDGE_PROMPT.split("{")[0]) and "Capital {answer}?\nReference answer: Paris or City of Light\n" \
        "Answer: Lutetia {gold}\nVerdict:" in s.asked[0]
    assert got.attrs["judge"] == "llm" and got.attrs["judge_model"] == tiny.name
    with pytest.raises(ValueError, match="needs a judge model"): judge(t, "llm")


def test_control_characters_do_not_reach_a_judge_model(script, tiny):
    s = script(lambda q: "correct")
    got = judge(table(("Lu\x00te\x07tia\x9f,\tor\nParis", "Paris", None, None, "Cap\x00ital?")), "llm", lm=tiny)
    assert got["outcome"].tolist() == ["correct"] and "\x00" not in s.asked[0]
    assert last(s.asked[0]).startswith(" Lutetia, or Paris\n")


def test_a_model_that_cannot_judge_is_noted_and_so_is_one_too_small(tiny):
    "A real model with random weights, greedily: the same noise twice."
    t = table(("Rome", "Paris", None, None, "Capital?"), ("Rome " * 9000, "Paris", None, None, "Capital?"))
    got = judge(t, "llm", lm=tiny, progress=False)
    assert got["outcome"].tolist() == ["unjudged"]*2 and got["judge_note"].iloc[0].startswith("the judge gave no verdict: ")
    assert re.search(r"the judge's prompt of \d+ tokens is too long for", got["judge_note"].iloc[1])
    pd.testing.assert_frame_equal(got, judge(t, "llm", lm=tiny, progress=False))


def test_natural_questions_ask_a_judge_only_where_no_substring_is_found(script, tiny):
    t = table(*[(a, "Paris", None, "natural_questions_with_context", "?") for a in ("in paris", "Lutetia", "Rome", "Nice")])
    got = judge(t, "paper")
    assert got["outcome"].tolist() == ["correct"] + ["unjudged"]*3 and "lm=" in got["judge_note"].iloc[1]
    s = script(lambda q: {"Lutetia": "correct", "Rome": "wrong"}.get(last(q).split()[0], "banana"))
    assert judge(t, "paper", lm=tiny)["outcome"].tolist() == ["correct", "correct", "wrong", "wrong"] and len(s.asked) == 3


# Own judges, several judges, bad input

def test_own_judges_and_unknown_ones():
    t = table(("abc", "x"), ("", "x"), ("I don't know", "x"))
    assert judge(t, lambda r: True if r["answer"] == "abc" else None)["outcome"].tolist() == ["correct", "unjudged", "refused"]
    got = judge(t, lambda r: np.bool_(r["gold"] == ["x"] and r["options"] is None and set(r) == set(t)))
    assert got["outcome"].tolist() == ["correct"]*3 and set(got["judged_by"]) == {"own"}
    with pytest.raises(ValueError, match=r"your judge fails at row 1 \(id 'b'\): ZeroDivisionError: division by zero"):
        judge(t.assign(id=list("abc")), lambda r: 1/len(r["answer"]) > 0)
    with pytest.raises(ValueError, match="your judge says 'yes' of row 0"): judge(t, lambda r: "yes")
    with pytest.raises(ValueError, match=re.escape("no rule 'words': use \"auto\", 'match'")): judge(t, rule="words")
    with pytest.raises(ValueError, match="an empty list of rules"): judge(t, rule=[])
    with pytest.raises(ValueError, match="lack the column 'answer'"): judge(t.drop(columns="answer"))
    with pytest.raises(ValueError, match="errors='ignore'"): judge(t, errors="ignore")


@pytest.mark.parametrize("column, value, told", [
    ("gold", "", "gold is ''"), ("gold", None, "gold is 'None'"), ("gold", np.nan, "gold is 'nan'"),
    ("gold", [], "gold is '[]'"), ("gold", 5, "gold is '5'"),
    ("gold", ["", " "], "gold is"), ("gold", [5], "gold is '[5]'"), ("gold", {"a": 1}, "gold is"),
    ("answer", np.nan, "answer is 'nan', not a text"),
    ("answer", None, "answer is 'None'"), ("answer", 5, "answer is '5'")])
def test_bad_rows_are_named_and_the_rest_goes_on_when_asked(column, value, told):
    t = table(("Paris", "Paris"), ("Rome", "Paris")).assign(id=["a", "b"]).astype(object)
    t.at[1, column] = value
    with pytest.raises(ValueError, match=re.escape(f"row 1 (id 'b'): {told}")): judge(t)
    got = judge(t, ["auto", "paper", lambda r: True], errors="note")
    assert got["outcome"].tolist() == ["correct",
    "unjudged"] and told in got["judge_note"].iloc[1] and got["correct_own"].isna().tolist() == [False, True]


def test_strange_answers_are_judged():
    t = table(("Pa\x00ris \x07Rome", "Rome"), ("<script>alert(1)</script>", "Rome"), ("😀 Rome", "Rome"),
              ("روما", "روما"), ("x" * 1_000_000 + " Rome", "Rome"), ("1 " * 500_000, "5", None, "math"),
              ("= 5. " * 200_000, "5", None, "math"))
    got = judge(t)
    assert got["outcome"].tolist() == ["correct", "wrong", "correct", "correct", "correct", "wrong", "correct"]
    assert got["judge_note"].iloc[0] == "control characters in the answer" and len(got["judge_note"].map(str).max()) < 100
    assert judge(t.iloc[:0])["outcome"].tolist() == [] and str(judge(t.iloc[:0])["correct"].dtype) == "boolean"


def test_judges_side_by_side():
    def long(row): return len(row["answer"]) > 5
    got = judge(MANY, ["auto", "paper", long, lambda r: True])
    assert [c for c in got if c.startswith("correct_")] == ["correct_auto", "correct_paper", "correct_long", "correct_own"]
    pd.testing.assert_series_equal(got["correct"], judge(MANY)["correct"])
    pd.testing.assert_series_equal(got["correct_paper"], judge(MANY, "paper")["correct"], check_names=False)
    theirs = MANY.assign(correct_answer="kept")
    again = judge(judge(theirs, ["auto", "paper"]), "match")
    assert [c for c in again if c.startswith("correct_")] == ["correct_answer"] and "judge_note_paper" not in again


# Agreement

def votes(a, b, **more):
    "Answers that two judges have judged."
    return pd.DataFrame(dict(id=[f"q{i}" for i in range(len(a))], answer="x", correct_a=pd.array(a, dtype="boolean"),
                             judge_note_a="",
                             correct_b=pd.array(b, dtype="boolean"), judge_note_b="") | more)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=40))
def test_kappa_is_cohens(pairs):
    from sklearn.metrics import cohen_kappa_score
    a, b = map(list, zip(*pairs))
    got = agreement(votes(a, b)).pairs.iloc[0]
    assert got["n"] == len(a) and got["agree"] == pytest.approx(np.mean(np.equal(a, b)))
    if len(set(a) | set(b)) == 1: assert np.isnan(got["kappa"])
    else:
        assert got["kappa"] == pytest.approx(cohen_kappa_score(a, b), abs=1e-12)
        assert -1 <= got["kappa_low"] <= got["kappa"] <= got["kappa_high"] <= 1


def test_kappas_interval_covers_it():
    "Two judges that are right with 0.85 and 0.8, over answers of which 0.6 are correct: kappa is known."
    rng, p, a, b, n, hits = np.random.default_rng(0), .6, .85, .8, 80, 0
    cells = np.array([p*a*b + (1-p)*(1-a)*(1-b), p*a*(1-b) + (1-p)*(1-a)*b, p*(1-a)*b + (1-p)*a*(1-b), p*(1-a)*(1-b) + (1-p)*a*b])
    one, two = cells[0] + cells[1], cells[0] + cells[2]
    chance = one*two + (1-one)*(1-two)
    true = (cells[0] + cells[3] - chance)/(1 - chance)
    for _ in range(150):
        drawn = rng.choice(4, n, p=cells)
        got = agreement(votes(drawn < 2, drawn % 2 == 0)).pairs.iloc[0]
        hits += got["kappa_low"] <= true <= got["kappa_high"]
    assert .9 <= hits/150 <= .99


def test_answers_to_one_question_count_as_one():
    a, b = [True, False]*20, [True, False]*15 + [False, True]*5
    ids = [f"q{i}" for i in range(40)]
    apart, together = agreement(votes(a, b)).pairs.iloc[0], agreement(votes(a*9, b*9, id=ids*9)).pairs.iloc[0]
    assert together["n"] == 360 and together["kappa"] == pytest.approx(apart["kappa"])
    for end in ("kappa_low", "kappa_high"): assert together[end] == pytest.approx(apart[end])


def test_disagreements_are_shown_and_escaped(tmp_path):
    t = table(("<script>alert(1)</script> not Rome", "Rome"), ("Paris", "Paris"), ("I don't know", "Rome"), ("", "Rome"))
    t = t.assign(id=list("abcd"), example=range(4), sample=0).set_index(pd.Index([5]*4))
    mark(tmp_path / "hand.jsonl", t, 1, correct=False)
    got = agreement(judge(t, ["auto", "paper"], hand=tmp_path / "hand.jsonl"))
    pairs = [["auto", "paper", 2], ["auto", "hand", 1], ["paper", "hand", 1]]
    assert got.pairs[["first", "second", "n"]].values.tolist() == pairs and got.rows["id"].tolist() == list("abcd")
    assert "<script>" not in got._repr_html_() and "&lt;script&gt;" in got._repr_html_()
    assert "4 answers on which they differ" in repr(got)
    with pytest.raises(ValueError, match="have 0 judges"): agreement(judge(t))


# Marks by hand

def said(**more):
    return pd.DataFrame(dict(example=[0, 1, 2], id=["a", "a", "b"], sample=[0, 1, 0], gold=["Paris"]*3,
                             answer=["Bombay it is.", "Rome.", "Über Köln, ja"]) | more)


def test_the_last_mark_of_a_field_wins_and_none_is_lost(tmp_path):
    hand, ans = tmp_path / "new" / "hand.jsonl", said()
    mark(hand, ans, 0, correct=False, span="Bombay", note="first")
    mark(hand, ans, 0, correct=True)
    mark(hand, ans, 1, span=None)
    mark(hand, ans, 2, correct="refused", span=(5, 9))
    assert marks_of(hand, ans) == [dict(correct=True, exact=(0, 6), note="first"), dict(exact=(), note=""),
                                   dict(correct="refused", exact=(5, 9), note="")]
    assert marks_of(read_marks(hand), ans.iloc[::-1].set_index(pd.Index([7, 7, 7]))) == marks_of(hand, ans)[::-1]
    mark(hand, ans, 0, correct=None)
    assert marks_of(hand, ans)[0] == dict(exact=(0, 6), note="first") and len(hand.read_text().splitlines()) == 5
    assert marks_of(hand, said(answer=["Bombay it was.", "rome.", "Köln"])) == [{}] * 3
    assert marks_of(hand, said(sample=[1, 0, 1])) == marks_of(tmp_path / "none.jsonl", ans) == marks_of(None, ans) == [{}] * 3


def test_a_mark_cut_off_in_writing_is_named_and_harms_no_other(tmp_path):
    hand, ans = tmp_path / "hand.jsonl", said()
    mark(hand, ans, 0, correct=True)
    hand.write_bytes(hand.read_bytes() + b'{"id": "a", "sam')
    mark(hand, ans, 1, correct=True)
    with pytest.raises(ValueError, match=r"hand.jsonl, line 2 is no mark \('\{\"id\": \"a\", \"sam'\)"): read_marks(hand)
    lines = hand.read_text().splitlines()
    hand.write_text("\n".join([lines[0], lines[2]]))
    assert [m.get("correct") for m in marks_of(hand, ans)] == [True, True, None]


@pytest.mark.parametrize("how, told", [
    (dict(example=9, correct=True), "0 answers have example 9"), (dict(example=0), "nothing to mark"),
    (dict(example=0, correct="yes"), "correct='yes' is no mark"),
    (dict(example=0, span="Rome"), "'Rome' stands 0 times"), (dict(example=0, span=""), "'' stands 0 times"),
    (dict(example=0, span=(3, 3)), "not within"), (dict(example=0, span=(0, 99)), "of 13 characters")])
def test_a_mark_that_means_nothing_is_refused(tmp_path, how, told):
    with pytest.raises((ValueError, KeyError), match=re.escape(told)): mark(tmp_path / "hand.jsonl", said(), **how)
    assert not (tmp_path / "hand.jsonl").exists()
