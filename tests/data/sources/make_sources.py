"""Makes the small files of this folder (README.md says what they are): python make_sources.py FOLDER_OF_THE_PUBLISHED_FILES"""
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
TEXT, TEXTS = pa.string(), pa.list_(pa.string())


def quote(published, name, rows):
    "The header and some records of a published file, byte for byte (none of its records has a line end inside)."
    lines = (published / name).read_bytes().splitlines(keepends=True)
    (HERE / "paper" / name).write_bytes(lines[0] + b"".join(lines[i] for i in rows))


# the first records of the test files (some left out), as a public index of the repository shows them at the same commit
TEST = {"AnswerableMath_test.csv": """\
id,question,answer,answerable,category,relevant_ids,source
2001,There were 148 peanuts in a jar. Brock ate one-fourth of the peanuts and Bonita ate 29 peanuts. How many peanuts remain in the jar?,[82.0],True,,,GSM8K
720," At a restaurant each adult meal costs $5 and kids eat free. If a group of 15 people came in and 8 were kids, how much would it cost for the group to eat? ",[35.0],True,,,MultiArith
""", "mnli_validation.csv": """\
Question,Answer,Origin
"For the statement, ""more of a football powerhouse up there i guess"", does the hypothesis ""I suppose he is more of a football powerhouse there"" represent entailment, contradiction, or neutrality?",entailment,mnli
"For the statement, ""You know"", does the hypothesis ""You do not know"" represent entailment, contradiction, or neutrality?",contradiction,mnli
""", "movie_qa_test.csv": """\
Question,Answer
Who acted as Guadelupe Aragón in the movie 'A Walk in the Clouds'?,Evangelina Elizondo
"Who acted as Dr. Alexander in the movie 'Sorry, Wrong Number'?",Wendell Corey
""", "winobias_test.csv": """\
type,stereotype,pronoun,sentence,answer,incorrect_answer,q,q_instruct
1,pro,she,The janitor reprimanded the accountant because she made a mistake filing paperwork.,accountant,janitor,The pronoun 'she' refers to the,Who does the pronoun 'she' refer to?
1,pro,he,The CEO liked the hairdresser because he liked the hairstyles provided.,ceo,hairdresser,The pronoun 'he' refers to the,Who does the pronoun 'he' refer to?
""", "winogrande_test.csv": """\
Question,Answer,Wrong_Answer
"Sarah was better at squats than Mary, so _ worried a lot about their weight. Who does the blank refer to in the sentence?",Mary,Sarah
Brian always drank from fresh coconuts unlike Matthew because _ lived on an island in the pacific. Who does the blank refer to in the sentence?,Brian,Matthew
"""}  # noqa: E501


def parquet(path, fields, rows):
    path = HERE / "hub" / path
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(fields)), path)


def card(repository, config, splits):
    "The head of a data set's card: it says which files are which split."
    files = "".join(f"  - split: {s}\n    path: {config}/{s}-*\n" for s in splits)
    (HERE / "hub" / repository / "README.md").write_text(f"---\nconfigs:\n- config_name: {config}\n  data_files:\n{files}---\n")


def triviaqa():
    pages = pa.struct([(n, TEXTS) for n in ("doc_source", "filename", "title", "wiki_context")])
    found = pa.struct([("description", TEXTS), ("filename", TEXTS), ("rank", pa.list_(pa.int32())), ("title", TEXTS),
                       ("url", TEXTS), ("search_context", TEXTS)])
    texts = ("matched_wiki_entity_name", "normalized_matched_wiki_entity_name", "normalized_value", "type", "value")
    answer = pa.struct([("aliases", TEXTS), ("normalized_aliases", TEXTS), *((t, TEXT) for t in texts)])
    fields = [("question", TEXT), ("question_id", TEXT), ("question_source", TEXT), ("entity_pages", pages),
              ("search_results", found), ("answer", answer)]
    none = {f.name: [] for f in pages}, {f.name: [] for f in found}

    def row(i, question, value, *aliases):
        return dict(question=question, question_id=i, question_source="invented", entity_pages=none[0], search_results=none[1],
                    answer=dict(aliases=[value, *aliases], normalized_aliases=[a.lower() for a in (value, *aliases)],
                                matched_wiki_entity_name=value, normalized_matched_wiki_entity_name=value.lower(),
                                normalized_value=value.lower(), type="WikipediaEntity", value=value))
    parquet("trivia_qa/unfiltered.nocontext/train-00000-of-00001.parquet", fields,
            [row("xx_1", "Which river runs through the town of Torvik?", "The Orm", "Orm", "River Orm"),
             row("xx_2", "Who wrote the “Book of Small Bridges”?", "Alda Brenn", "A. Brenn"),
             row("xx_3", "Which river runs  through the town of Torvik", "Orm"),
             row("xx_1", "Which metal are Torvik's bells made of?", "Bronze")])
    parquet("trivia_qa/unfiltered.nocontext/validation-00000-of-00001.parquet", fields,
            [row("xx_9", "Who wrote the 'Book of Small Bridges'?", "Alda Brenn"), row("xx_10", "What is brewed in Halm?", "Ale")])
    card("trivia_qa", "unfiltered.nocontext", ["train", "validation"])


def hotpotqa():
    facts = pa.struct([("title", TEXTS), ("sent_id", pa.list_(pa.int32()))])
    context = pa.struct([("title", TEXTS), ("sentences", pa.list_(TEXTS))])
    fields = [("id", TEXT), ("question", TEXT), ("answer", TEXT), ("type", TEXT), ("level", TEXT), ("supporting_facts", facts),
              ("context", context)]

    def row(i, question, answer, kind="bridge"):
        return dict(id=i, question=question, answer=answer, type=kind, level="hard",
                    supporting_facts=dict(title=["Torvik", "Halm"], sent_id=[0, 1]),
                    context=dict(title=["Torvik", "Halm"],
                                 sentences=[["Torvik is a town on the Orm.", " Alda Brenn was born there."],
                                            ["Halm is a village.", " It is known for its ale."]]))
    for part, rows in enumerate([[row("5a01", "On which river lies the town where Alda Brenn was born?", "the Orm")],
                                 [row("5a02", "Are Torvik and Halm both towns?", "no", "comparison")]]):
        parquet(f"hotpot_qa/distractor/train-0000{part}-of-00002.parquet", fields, rows)
    parquet("hotpot_qa/distractor/validation-00000-of-00001.parquet", fields,
            [row("5b01", "What is Alda Brenn's river known for?", "eels")])
    card("hotpot_qa", "distractor", ["train", "validation"])


def natural_questions():
    numbers = pa.list_(pa.int32())
    tokens = pa.struct([("tokens", TEXTS), ("offsets", numbers)])
    spans = pa.list_(pa.struct([("start", numbers), ("end", numbers)]))
    detected = pa.struct([("text", TEXTS), ("char_spans", spans), ("token_spans", spans)])
    fields = [("subset", TEXT), ("context", TEXT), ("context_tokens", tokens), ("qid", TEXT), ("question", TEXT),
              ("question_tokens", tokens), ("detected_answers", detected), ("answers", TEXTS)]

    def row(subset, qid, question, context, *answers):
        tokens = [dict(tokens=text.split(), offsets=[]) for text in (context, question)]
        return dict(subset=subset, context=context, qid=qid, question=question, answers=answers, detected_answers=None,
                    context_tokens=tokens[0], question_tokens=tokens[1])
    paragraph = "<P> Torvik is a town on the Orm . Its bells were cast in 1612 by Egil Strand . </P>"
    parquet("mrqa/plain_text/train-00000-of-00001.parquet", fields,
            [row("SQuAD", "q0", "Where is Torvik?", paragraph, "on the Orm"),
             row("NaturalQuestionsShort", "q1", "when were the bells of torvik cast", paragraph, "1612", "in 1612"),
             row("NaturalQuestionsShort", "q2", "who cast the bells of torvik", paragraph, "Egil Strand")])
    parquet("mrqa/plain_text/validation-00000-of-00001.parquet", fields,
            [row("NaturalQuestionsShort", "q3", "on which river is torvik", paragraph, "the Orm")])
    card("mrqa", "plain_text", ["train", "validation"])


def imdb():
    fields = [("text", TEXT), ("label", pa.int64())]
    parquet("imdb/plain_text/train-00000-of-00001.parquet", fields,
            [dict(text="A bridge, two hours, and nothing falls.<br /><br />I wanted my evening back.", label=0),
             dict(text="Bells of Torvik made me cry \x96 twice. <script>alert(1)</script>", label=1)])
    parquet("imdb/plain_text/test-00000-of-00001.parquet", fields, [dict(text="Ale, eels and a happy end. See it!", label=1)])
    card("imdb", "plain_text", ["train", "test"])


if __name__ == "__main__":
    published = Path(sys.argv[1])
    (HERE / "paper").mkdir(exist_ok=True)
    quote(published, "AnswerableMath.csv", [1, 2, 9, 40, 19, 1792])
    quote(published, "mnli_train.csv", [1, 3, 5, 5637, 41, 7873])
    quote(published, "movie_qa_train.csv", [1, 4, 10, 1227])
    quote(published, "winobias_dev.csv", [1, 397, 2, 398, 949, 1345])
    quote(published, "winogrande_train.csv", [1, 3, 4, 533])
    for name, text in TEST.items(): (HERE / "paper" / name).write_bytes(text.encode())
    triviaqa(), hotpotqa(), natural_questions(), imdb()
