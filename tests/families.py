"Tokenizers of every family, trained here on a few sentences: texts fall apart into small, odd pieces."
import json

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXT = ["Alda Brenn was born in Torvik, I think.", "The answer is Paris, of course; not Rome.",
        "Who? Nobody. It's 1,250 — naïve!", "Question: where was it? Answer: nowhere.",
        "Zürich, Köln and São Paulo are cities in Europe."] * 20
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
BYTES = [f"<0x{b:02X}>" for b in range(256)]


def wrap(tok, end, unk=None, **more): return PreTrainedTokenizerFast(tokenizer_object=tok, eos_token=end, unk_token=unk, **more)


def byte_level(llama3=False):
    "GPT-2's bytes as letters; with Llama 3's split, whose offsets have no width where a token is half a character."
    tok, byte = Tokenizer(models.BPE()), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not llama3)
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"), byte]) if llama3 else byte
    tok.decoder, tok.post_processor = decoders.ByteLevel(), processors.ByteLevel(trim_offsets=True)
    special = ["<|begin_of_text|>", "<|eot_id|>"] if llama3 else ["<|endoftext|>"]
    tok.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False,
                                                      initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return wrap(tok, special[-1])


def metaspace(kind):
    "Blanks as ▁ and unknown letters as bytes: SentencePiece's unigram model, or merges as Llama 2 and Mistral have them."
    special = ["<unk>", "<s>", "</s>"]
    tok = Tokenizer(models.Unigram() if kind == "unigram" else models.BPE(unk_token="<unk>"))
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    if kind == "unigram":
        tok.train_from_iterator(TEXT, trainers.UnigramTrainer(vocab_size=200, special_tokens=special, unk_token="<unk>",
                                                              show_progress=False))
        vocab = [tuple(v) for v in json.loads(tok.to_str())["model"]["vocab"]]
        tok.model = models.Unigram(vocab + [(b, -20.) for b in BYTES], unk_id=0, byte_fallback=True)
    else:
        tok.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=300, special_tokens=special, show_progress=False))
        was = json.loads(tok.to_str())["model"]
        vocab = was["vocab"] | {b: len(was["vocab"]) + i for i, b in enumerate(BYTES)}
        tok.model = models.BPE(vocab, [tuple(m) for m in was["merges"]], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
                                     decoders.Strip(" ", 1, 0)])
    return wrap(tok, "</s>", "<unk>", bos_token="<s>")


def wordpiece(lowercase):
    tok = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tok.normalizer, tok.pre_tokenizer = normalizers.BertNormalizer(lowercase=lowercase), pre_tokenizers.BertPreTokenizer()
    tok.decoder = decoders.WordPiece()
    tok.train_from_iterator(TEXT, trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[PAD]", "[UNK]", "[SEP]"],
                                                            show_progress=False))
    return wrap(tok, "[SEP]", "[UNK]")


def characters():
    letters = sorted(set("".join(TEXT)) | set("🙂東京éא \n"))
    tok = Tokenizer(models.WordLevel({c: i for i, c in enumerate(["<unk>", "</s>", *letters])}, unk_token="<unk>"))
    tok.pre_tokenizer, tok.decoder = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated"), decoders.Fuse()
    return wrap(tok, "</s>", "<unk>")


FAMILIES = {"byte-level, GPT-2": byte_level(), "byte-level, Llama 3": byte_level(llama3=True),
            "unigram, bytes": metaspace("unigram"), "merges with ▁, bytes": metaspace("bpe"), "wordpiece": wordpiece(False),
            "wordpiece, uncased": wordpiece(True), "characters": characters()}
