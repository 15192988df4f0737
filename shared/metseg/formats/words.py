"""The meaning of free text, of a series or a file's name: weighting, agent and kind, in the words of hospitals.

Descriptions are typed by people in their language, with their vendor's abbreviations. Each rule is a pattern for whole
words of `normalise`d text, so that `T1WPostGd`, `t1_post_gd` and `T1 POST-GD` are the same.
"""

import re
import unicodedata
from typing import Literal, NamedTuple

__all__ = ["Meaning", "contrast_of", "interpret", "is_quantitative", "normalise", "weighting_of", "without_treatment"]

Subject = Literal["t1", "t2", "flair", "other"]


class Meaning(NamedTuple):
    """What a text says.

    Attributes:
        subject: the weighting; `other` is an image that the model does not use; None where nothing is said.
        kind: of an `other` image, in words for a message.
        contrast: whether an agent was given; None where nothing is said, or both.
    """

    subject: Subject | None
    kind: str
    contrast: bool | None


def _words(*patterns: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![a-z])(?:{'|'.join(patterns)})(?![a-z])")


OTHER: tuple[tuple[str, re.Pattern[str]], ...] = (
    (
        "diffusion",
        _words(
            r"r?e?dwi\w*", "dti", r"diff\w*", r"difu\w*", "e?adc", r"apparent\w*", r"trace\w*", r"col ?fa", "fa map"
        ),
    ),
    ("diffusion", _words(r"b ?(?:0|50|1?[0-9]00|[23]000)", "b ?value", r"tensor\w*", "hardi", "noddi", "dki", "ivim")),
    ("diffusion", re.compile("拡散|弥散|확산|диффуз")),
    ("echo planar imaging", _words("epi", r"ep2d\w*", "ep ?se", "bold", "(?:rs ?)?f ?mri", r"resting\w*")),
    (
        "susceptibility",
        _words("swi", "swan", "swip", r"suscept\w*", "fsbb", "venobold", "qsm", r"hemo\w*", "vbold", r"mag ?images?"),
    ),
    (
        "susceptibility",
        _words(r"t2 ?\*", "t2 ?star", r"t2 ?(?:ffe|gre|fl2d|hemo)", "mpgr", "medic", "merge", "t2w? ?\\*"),
    ),
    ("susceptibility", re.compile("磁化率|磁敏感")),
    (
        "perfusion",
        _words(r"perf\w*", "pwi", "dsc", "dce", "asl", "p?casl", "(?:r|rel )?cb[fv]", "mtt", "ttp", "tmax", "dyn"),
    ),
    ("perfusion", _words("ktrans", r"dynami\w*", r"灌流")),
    (
        "angiography",
        _words("tof", r"angio\w*", "[cm]e ?mra", "mra", "mrv", "venc", "tricks", "twist", "inhance", r"veno\w*"),
    ),
    ("angiography", _words(r"arterio\w*", "pca", "3d ?pc", "2d ?pc", "pc ?(?:3d|2d|mra)", "vessels?", "mrangio")),
    ("spectroscopy", _words(r"spectro\w*", r"spektro\w*", r"espectro\w*", "mrs", "csi", "svs", "press", "probe")),
    ("projection", _words(r"m ?n?ip", r"minip", r"projection\w*", r"proj", "collapsed", "3d ?model", "vr")),
    ("subtraction", _words("subs?", r"subtra\w*", r"subtrak\w*", r"sustrac\w*", "soustraction", "difference")),
    ("phase image", _words(r"pha", r"pha ?images?", r"phase ?(?:map|image|img|contrast|ref)s?", "real", "imaginary")),
    ("phase image", re.compile(r"^phase(?![a-z])|(?<!in )(?<!out )(?<!opp )(?<!of )(?<![a-z])phase ?$")),
    ("field map", _words(r"field ?map\w*", r"fieldmap\w*", r"b[01] ?map\w*", "b1 ?\\+?", "shim", r"fmap", "b1 ?cal")),
    (
        "localiser",
        _words(
            r"scout\w*", r"survey\w*", r"loc(?:ali[sz]\w*|s)?", "lokali\\w*", r"localis\w*", r"reper\w*", r"topo\w*"
        ),
    ),
    (
        "localiser",
        _words("3 ?(?:plane|pl)", "tri ?plan\\w*", "aahead", "aahscout", r"locator", r"localizador", "pilot"),
    ),
    ("localiser", re.compile("位置決め|定位|ロケ")),
    (
        "calibration",
        _words(
            r"cal",
            r"calib\w*",
            "kalib\\w*",
            "asset",
            r"sense ?ref\w*",
            r"ref ?scan",
            r"coil ?(?:survey|sens)\w*",
            "pure",
        ),
    ),
    ("calibration", _words(r"prescan", "acs", "noise", r"phantom ?qa", "ref")),
    (
        "steady state",
        _words("ciss", r"fiesta\w*", "b ?ffe", "truefisp", "trufi\\w*", "true ?sspf", "b ?tfe", "ssfse", "haste"),
    ),
    ("steady state", _words("drive", "3d ?hyce", "myelo\\w*", r"cisternograph\w*", "hydro\\w*")),
    ("proton density", _words("pd", "pdw", r"proton\w*", "dp")),
    ("double inversion", _words("dir", r"double ?(?:ir|inversion)", "stir", "psir")),
    (
        "quantitative map",
        _words(r"(?:t1|t2|r1|r2|fa|pd)\*? ?map\w*", r"t1 ?rho\w*", "(?:sh)?molli", r"quant\w*", "mrf", "mdme", "magic"),
    ),
    ("first inversion of MP2RAGE", _words(r"inv ?[12]", "mp2rage ?inv ?[12]")),
    (
        "spine",
        _words(
            r"spine", "lumbar", "cervical", "thoracic", "c ?spine", "l ?spine", "t ?spine", r"hws", "lws", "bws", "neck"
        ),
    ),
    ("spine", _words("wirbel\\w*", "columna", "rachis", "halswirbel\\w*")),
    ("another image", _words("other")),
    ("secondary capture", _words("screen ?(?:save|shot)s?", "report", "smartbrain", "results?", "key ?images?")),
)
"""What the model does not use, with the name of its kind."""
QUANTITATIVE = ("field map", "quantitative map", "first inversion of MP2RAGE")
FLAIR = re.compile(r"flair|dark ?fluid|(?<![a-z])(?:da ?fl|tirm|spc ?ir|spcir)(?![a-z])|フレア|フレアー")
T1 = re.compile(
    r"(?<![a-z])(?:ax|axi|axial|tra|sag|cor|3d|2d)?t1(?![0-9])|mp ?2?rage|(?<![a-z])(?:bravo|i?r?f?spgr|fspgr|efgre3d|"
    r"vibe|thrive|lava|tfl3d\w*|mprage|mpr|fl3d|ir ?prep)(?![a-z])|(?<![0-9])t1強調|t1加权"
)
REFORMATTED = re.compile(r"(?<![a-z])mpr(?![a-z])")
"""A T1 of Siemens by its name, and a reformat of any sequence."""
T2 = re.compile(r"(?<![a-z])(?:ax|axi|tra|sag|cor|3d|2d)?t2(?![0-9])")

AGENTS = (
    r"dotarem|clariscan|gadovist|gadavist|magnevist|magnescope|multihance|prohance|omniscan|primovist|eovist|vueway|"
    r"elucirem|vistarem|gadoter\w*|gadobut\w*|artirem|dotagita|cyclolux|ablavar"
)
NOUN = (
    rf"(?:contras\w*|kontras\w*|gd ?(?:dtpa|dota|bt)?|gad|gado\w*|ce|km|kmg|mdc|inj|injec\w*|injek\w*|iniezione|enh|"
    rf"enhanced|enhancement|civ|pdc|tehoste\w*|{AGENTS})"
)
LOOSE_NOUN = rf"(?:{NOUN}|c|con|iv|i v|cm|k|cte|kl)"
"""Also what means an agent only next to a word such as `with` or `without`."""
NEGATION = (
    r"(?:w ?/ ?o|wo|without|with ?out|no|non|not|un|ohne|vor|kein\w*|sans|avant|sin|antes(?: del?)?|senza|"
    r"prima(?: del?)?|sem|zonder|voor|bez|pre|prior to|before|uten|utan|uden|ilman|fara|pred|prije|przed(?: podaniem)?)"
)
AFFIRMATION = (
    r"(?:with|w|w ?/|mit|nach|avec|apres|ap|con|despues(?: del?)?|tras|dopo|com|apos|pos|met|na|po|after|post|"
    r"p|plus|\+)"
)
TREATMENT = (
    r"(?:op|ops|operat\w*|operativ\w*|surg\w*|rt|xrt|srs|gk|gamma\w*|radi\w*|tx|treat\w*|therap\w*|chemo\w*|chimio\w*|"
    r"resect\w*|biops\w*|implant\w*|proc|process\w*|proz\w*|oper\w*|scan|sat|fossa|traumat\w*|trauma|emergence|partum)"
)
NEUTRAL = re.compile(
    rf"(?<![a-z])(?:pre|post) ?{TREATMENT}(?![a-z])"  # before and after treatment, and the posterior fossa
    r"|(?<![a-z])(?:w ?/ ?o|wo|w|with|without|non?|ohne|mit|sans|avec|sin|con|senza|sem) ?"
    r"(?:fs|fat\w*|fatsat|fett\w*|sat\w*|supp?\w*|graisse|grasa|grasso|epi|mtc?|flow|gap|angle|iso\w*|arms?|zip)(?![a-z])"
    r"|(?<![a-z])(?:w ?/ ?wo|w ?(?:and|&|\+|/) ?(?:wo|w ?/ ?o)|wwo|w wo|(?:wo|w ?/ ?o|without) ?(?:and|&|\+|/)? ?"
    r"(?:w|with)|with ?(?:and|&|\+|/) ?without|pre ?(?:and|&|\+|/|y|et|und)? ?post|"
    r"mit (?:und|&|\+|/) ?ohne|ohne (?:und|&|\+|/) ?mit|avec et sans|sans et avec|"
    r"con y sin|sin y con|con e senza|senza e con|c ?\+ ?/ ?-|\+ ?/ ?-|-? ?/ ?\+)"
    rf"(?: ?{LOOSE_NOUN})?(?![a-z])|造影前後"
)
"""Text that says nothing about this series' contrast; removed before contrast is looked for."""
PLAIN = re.compile(
    rf"(?<![a-z])(?:t1w?)?{NEGATION}[ /-]{{0,2}}(?:(?:de|di|del|the|le|du|iv|any|d|produit de) )?{LOOSE_NOUN}"
    r"(?![a-z])"
    rf"|(?<![a-z]){NOUN} ?(?:-(?!\w)|(?:no|none|pre|nein|oncesi)(?![a-z]))"
    r"|(?<![a-z])(?:kontrasts[iı]z|kontrastivaba|nce)"
    r"|(?<![a-z])(?:t1w?)?(?:pre|native?s?|nativ\w*|unenhanced|noncon\w*|nonenh\w*|plain|blanco|basale?|simple|sinc|"
    r"s ?/ ?c|s ?/ ?contraste|ncct|t1n)(?![a-z])"
    r"|(?<![a-z])(?:w ?/ ?o|wo|without)[ ]*$|(?<![a-z+])(?:c ?-|gd ?-|- ?c|- ?gd)(?![a-z+])"
    r"|造影(?:前|なし|無| ?-)|非造影|単純|平扫|平掃|增强前|未增强|조영 ?전|조영제? ?없|비조영|без к|до (?:введ\w* )?к"
)
ENHANCED = re.compile(
    rf"(?<![a-z])(?:t1w?)?(?:{AFFIRMATION}[ .]{{0,2}}{LOOSE_NOUN}|{NOUN}|post|"
    rf"postcon\w*|postgd|postgad\w*|postkm|t1w?c)(?![a-z])"
    r"|(?<![a-z])t1w? ?c(?=$| ?(?:ax|axi|tra|sag|cor|fs|3d)(?![a-z]))"
    r"|\+ ?(?:c|g|gd|gad\w*|km|k|ce|inj|iv|contrast\w*|mdc)(?![a-z])"
    r"|(?<![a-z])(?:c|gd|km|k|gad|gado) ?\+|(?<![a-z])c ?/ ?contraste"
    r"|造影|増強|增强|조영|с к(?:онтр|у|в)|после к"
)


def normalise(text: str) -> str:
    """The text in lower case without accents, one space between words; meaningful signs are kept."""
    plain = "".join(each for each in unicodedata.normalize("NFKD", text) if not unicodedata.combining(each))
    plain = unicodedata.normalize("NFC", plain)
    plain = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", plain.replace("T1w", "T1w ").replace("T2w", "T2w "))
    return " ".join(re.sub(r"[^\w+*/&-]|_|(?<=\w)-(?=\w)", " ", plain.lower()).split())


def interpret(text: str) -> Meaning:
    """The meaning of a series' description."""
    words = normalise(text)
    contrast = contrast_of(words)
    kind = next((kind for kind, pattern in OTHER if pattern.search(words)), None)
    if kind is not None:
        return Meaning("other", kind, contrast)
    weighting = weighting_of(words)
    return Meaning(weighting, "T2" if weighting == "t2" else "", contrast)


def weighting_of(words: str) -> Literal["t1", "t2", "flair"] | None:
    """The weighting that normalised text names; None where it names none, or several."""
    flair, t2 = bool(FLAIR.search(words)), bool(T2.search(words))
    t1 = bool(T1.search(REFORMATTED.sub(" ", words) if flair or t2 else words))
    if flair and not t1:
        return "flair"
    if t1 != t2:
        return "t1" if t1 else "t2"
    return None


def is_quantitative(words: str) -> bool:
    """Whether normalised text names a map, or an image that one is computed from."""
    return any(pattern.search(words) for kind, pattern in OTHER if kind in QUANTITATIVE)


def without_treatment(words: str) -> str:
    """Normalised text without what only seems to speak of contrast, such as `post op`."""
    return NEUTRAL.sub(" ", words)


def contrast_of(words: str) -> bool | None:
    """Whether normalised text says that an agent was given; None where it says nothing, or both."""
    rest = without_treatment(words)
    plain = bool(PLAIN.search(rest))
    enhanced = bool(ENHANCED.search(PLAIN.sub(" ", rest)))
    return None if plain == enhanced else enhanced
