"""The words of the synthetic reports: what each site calls each finding, place, and state.

Every entry is a pair of lists: forms that occur in every split, and forms kept for the TEST split alone
(the pre-training stream uses both, as a medical corpus contains words that 5,000 labelled reports do not).
"""

# fmt: off
FINDINGS = ("MA", "IRH", "HE", "CWS", "VB", "IRMA", "NVD", "NVE", "VH")
COUNTED = ("MA", "IRH", "HE", "CWS", "VB", "IRMA", "NVE")  # described by quadrant; NVD and VH are there or not
QUADRANTS = ("ST", "SN", "IT", "IN")
SITES = ("north", "harbour", "delta")

TERMS = {
    "north": {
        "MA": (["microaneurysms", "retinal microaneurysms", "capillary microaneurysms"], ["pinpoint capillary dilatations"]),
        "IRH": (["intraretinal haemorrhages", "dot and blot haemorrhages", "retinal haemorrhages"], ["blot-shaped bleeds"]),
        "HE": (["hard exudates", "lipid exudates"], ["yellow lipid deposits"]),
        "CWS": (["cotton wool spots", "soft exudates"], ["nerve fibre layer infarcts"]),
        "VB": (["venous beading", "beading of the veins"], ["sausage-like veins"]),
        "IRMA": (["intraretinal microvascular abnormalities", "IRMA"], ["abnormal intraretinal shunt vessels"]),
        "NVD": (["new vessels at the disc", "disc neovascularisation"], ["vascular fronds on the optic nerve head"]),
        "NVE": (["new vessels elsewhere", "new vessels along the arcades"], ["preretinal vascular fronds"]),
        "VH": (["vitreous haemorrhage", "preretinal haemorrhage"], ["subhyaloid bleeding"]),
    },
    "harbour": {
        "MA": (["MA", "MAs", "microan."], ["m'aneurysms"]),
        "IRH": (["DBH", "IRH", "haems"], ["D/B H"]),
        "HE": (["HE", "hard ex."], ["hex"]),
        "CWS": (["CWS", "cotton wool"], ["soft ex."]),
        "VB": (["VB", "ven. beading"], ["v. bead."]),
        "IRMA": (["IRMA", "IRMAs"], ["intraret. shunts"]),
        "NVD": (["NVD", "NV disc"], ["NV on ONH"]),
        "NVE": (["NVE", "NV elsewhere"], ["NV arcades"]),
        "VH": (["VH", "vit. haem", "PRH"], ["subhyaloid haem"]),
    },
    "delta": {
        "MA": (["微动脉瘤", "微血管瘤", "MA"], ["点状微瘤"]),
        "IRH": (["视网膜出血", "点片状出血", "视网膜内出血"], ["斑点状出血"]),
        "HE": (["硬性渗出", "黄白色渗出"], ["脂质沉着"]),
        "CWS": (["棉絮斑", "棉絮状渗出"], ["软性渗出"]),
        "VB": (["静脉串珠", "静脉串珠样改变"], ["静脉腊肠样改变"]),
        "IRMA": (["IRMA", "视网膜内微血管异常"], ["视网膜内短路血管"]),
        "NVD": (["视盘新生血管", "NVD"], ["视乳头新生血管"]),
        "NVE": (["视网膜新生血管", "NVE"], ["血管弓旁新生血管"]),
        "VH": (["玻璃体积血", "视网膜前出血"], ["玻璃体出血"]),
    },
}

# {t} is a list of terms; in a present clause each term carries its own place.
PRESENT = {
    "north": (["There are {t}.", "{t} are seen.", "Findings: {t}.", "{t}.", "{t} noted."], ["The fundus shows {t}.", "{t} can be made out."]),
    "harbour": (["{t}.", "{t};", "+ {t}.", "{t} present."], ["{t} (+).", "pos for {t}."]),
    "delta": (["可见{t}。", "见{t}。", "{t}。", "眼底: {t}。"], ["{t}明确。", "查见{t}。"]),
}
ABSENT = {
    "north": (
        ["No {t}.", "There are no {t}.", "No evidence of {t}.", "{t} are absent.", "Without {t}."],
        ["{t} could not be found.", "Free of {t}.", "{t} ruled out."],
    ),
    "harbour": (["No {t}.", "{t}: nil.", "{t} neg.", "nil {t}."], ["{t} 0.", "neg for {t}."]),
    "delta": (["未见{t}。", "无{t}。", "{t}(-)。", "No {t}。"], ["{t}均阴性。", "不伴{t}。"]),
}
UNCERTAIN = {
    "north": (["Possible {t}, not definite.", "Questionable {t}.", "{t} cannot be excluded."], ["Perhaps {t}, below the threshold for certainty."]),
    "harbour": (["?{t}.", "poss {t}, not definite.", "{t} ??"], ["susp. {t}, unconfirmed."]),
    "delta": (["可疑{t}。", "{t}不能除外。", "{t}待排。"], ["疑似{t}, 未确诊。"]),
}
PAST = {
    "north": (
        ["Previous {t}, now regressed after laser.", "{t} at the last visit, since resolved.", "Old {t}, treated and no longer active.", "History of {t}, cleared."],
        ["The {t} of last year have gone.", "Status after treatment for {t}, quiescent."],
    ),
    "harbour": (["prev {t}, regressed post PRP.", "old {t}, resolved.", "h/o {t}, cleared.", "{t} last visit, now gone."], ["ex-{t}, quiet since Rx."]),
    "delta": (["既往{t}, 激光后消退。", "曾有{t}, 现已吸收。", "上次{t}, 本次未见。", "h/o {t}, 已消退。"], ["{t}治疗后已静止。"]),
}
FAMILY = {
    "north": (["Mother had {t}.", "Family history of {t} in the father.", "A brother was treated for {t}."], ["An aunt lost sight from {t}."]),
    "harbour": (["FHx: {t} (mother).", "father had {t}."], ["sib with {t}."]),
    "delta": (["家族史: 母亲{t}。", "父亲曾患{t}。"], ["其兄有{t}病史。"]),
}
RETRACT = {
    "north": (["Addendum: {t} not confirmed on review.", "Correction: no {t} after second reading."], ["Amended: please disregard {t} above."]),
    "harbour": (["ADD: {t} not confirmed.", "Corr: no {t} on 2nd read."], ["amend: strike {t}."]),
    "delta": (["更正: 复核未见{t}。", "补充: {t}经复核不成立。"], ["修改: 删除上述{t}。"]),
}
EXTEND = {
    "north": (["Addendum: {t} also present on review.", "Correction: second reading finds {t}."], ["Amended: {t} had been overlooked."]),
    "harbour": (["ADD: {t} on review.", "Corr: 2nd read {t} +."], ["amend: {t} missed first time."]),
    "delta": (["更正: 复核可见{t}。", "补充: 另见{t}。"], ["修改: 漏报{t}。"]),
}
FELLOW = {  # the other eye, mentioned in passing in a report about one eye
    "north": (["The fellow eye shows {t}.", "For comparison, the {o} eye has {t}."], ["Its fellow, reported separately, shows {t}."]),
    "harbour": (["fellow eye: {t}.", "{O} (sep. report): {t}."], ["contralat: {t}."]),
    "delta": (["对侧眼可见{t}。", "{O}另报: {t}。"], ["另一眼示{t}。"]),
}
AND = {"north": (", ", " and ", " or "), "harbour": (", ", ", ", "/"), "delta": ("、", "及", "、")}

# where: {q} is a list of quadrants, {n} a number (digit or word)
EYES = {
    "north": {"right": (["Right eye", "The right eye"], ["Eye examined: right"]), "left": (["Left eye", "The left eye"], ["Eye examined: left"])},
    "harbour": {"right": (["OD", "RE"], ["R)"]), "left": (["OS", "LE"], ["L)"])},
    "delta": {"right": (["右眼", "OD"], ["右"]), "left": (["左眼", "OS"], ["左"])},
}
QUADRANT_NAMES = {
    "north": {"ST": "superotemporally", "SN": "superonasally", "IT": "inferotemporally", "IN": "inferonasally"},
    "harbour": {"ST": "ST", "SN": "SN", "IT": "IT", "IN": "IN"},
    "delta": {"ST": "颞上", "SN": "鼻上", "IT": "颞下", "IN": "鼻下"},
}
NUMBERS = {
    "north": (["in {d} quadrants", "in {w} quadrants"], ["across {w} of the four quadrants"]),
    "harbour": (["{d}Q", "x{d} quad", "in {d}/4"], ["{d} of 4 Q"]),
    "delta": (["{d}个象限", "{c}个象限"], ["累及{c}象限"]),
}
ALL_FOUR = {
    "north": (["in all four quadrants", "in each quadrant"], ["throughout every quadrant"]),
    "harbour": (["all Q", "4Q", "all 4 quad"], ["every Q"]),
    "delta": (["四个象限", "各象限"], ["全部象限"]),
}
ALL_BUT = {
    "north": (["in all quadrants except {q}"], ["everywhere but {q}"]),
    "harbour": (["all Q except {q}"], ["all but {q}"]),
    "delta": (["除{q}外各象限"], ["{q}以外各象限"]),
}
HEAVY = {
    "north": (["more than 20 {t} {w}", "{t} {w} (over 20 in each)", "extensive {t} {w}, >20 per quadrant"], ["{t} beyond count {w}, well above 20 each"]),
    "harbour": ([">20 {t} {w}", "{t} {w} >20 ea", "{t}+++ (>20) {w}"], ["{t} {w} 20+ ea"]),
    "delta": (["{w}{t}均>20个", "{w}大量{t}(每象限>20)"], ["{w}{t}, 每象限逾20个"]),
}
LIGHT = {  # few haemorrhages, said to be few
    "north": (["fewer than 20 {t} {w}", "occasional {t} {w}", "{t} {w} (under 10 in each)"], ["{t} {w}, a handful in each"]),
    "harbour": (["<20 {t} {w}", "few {t} {w}", "{t} {w} <10 ea"], ["{t} {w}, sparse"]),
    "delta": (["{w}少量{t}", "{w}{t}(每象限<10)"], ["{w}散在数个{t}"]),
}
PLACED = {"north": "{t} {w}", "harbour": "{t} {w}", "delta": "{w}{t}"}

# Sentences that decide nothing. Their numbers must not be mistaken for counts.
ASIDES = {
    "north": [
        "Image quality is adequate.", "Two fields taken through dilated pupils.", "Early lens opacity.", "HbA1c {p}%.", "Diabetes for {y} years.",
        "Blood pressure 1{y}/80.", "The macula is flat.", "Cup to disc ratio 0.{k}.", "Drusen at the macula.", "Peripheral laser scars.",
        "Retinal thickening within one disc diameter of the fovea.", "Visual acuity 6/{y}.", "Recall in {k} months.", "Takes metformin.",
    ],
    "harbour": [
        "IQ ok.", "2 fields.", "NS+1.", "HbA1c {p}.", "T2DM {y}y.", "BP 1{y}/80.", "mac flat.", "CDR 0.{k}.", "PRP scars.", "CSMO.",
        "VA 6/{y}.", "r/v {k}/12.", "on metformin.", "drusen.",
    ],
    "delta": [
        "图像清晰。", "HbA1c {p}%。", "糖尿病{y}年。", "BP 1{y}/80。", "黄斑平伏。", "C/D 0.{k}。", "激光斑可见。", "视力0.{k}。", "{k}个月后复查。",
        "晶状体轻度混浊。", "mac flat。", "服用二甲双胍。", "玻璃膜疣。",
    ],
}
NORMAL = {
    "north": (["The retina looks healthy.", "Normal fundus."], ["Nothing abnormal detected."]),
    "harbour": (["NAD.", "fundus normal."], ["unremarkable."]),
    "delta": (["眼底未见异常。", "fundus normal。"], ["眼底正常。"]),
}
STATED = {  # the leak that notebook 07 finds: a few percent of reports state their grade
    "north": ["No diabetic retinopathy.", "Mild NPDR.", "Moderate NPDR.", "Severe NPDR.", "Proliferative DR."],
    "harbour": ["DR grade 0.", "DR grade 1.", "DR grade 2.", "DR grade 3.", "DR grade 4."],
    "delta": ["无DR。", "轻度NPDR。", "中度NPDR。", "重度NPDR。", "PDR。"],
}
IMPRESSIONS = ["No apparent retinopathy", "Mild NPDR", "Moderate NPDR", "Severe NPDR", "Proliferative DR"]
