"""The words of the synthetic reports: what each site calls each finding, place, treatment and state.

Every entry holds three lists: forms that occur in every split, forms kept for the TEST split alone, and other forms kept for
the split `dev_unseen` alone. (The pre-training stream knows all *names* of findings, as a medical corpus contains words that
5,000 labelled reports do not.)
A form of the site delta is written with its English gloss behind a bar: "微动脉瘤|microaneurysms". The glosses make up a
fourth language, "gloss", with the same forms in the same places, so that a Chinese report can be said again in English.
"""

# fmt: off
FINDINGS = ("MA", "IRH", "HE", "CWS", "VB", "IRMA", "NVD", "NVE", "VH")
COUNTED = ("MA", "IRH", "HE", "CWS", "VB", "IRMA", "NVE")  # described by quadrant; NVD and VH are there or not
PROLIFERATIVE = ("NVD", "NVE", "VH")
OTHERS = ("DME", "LASER", "GRID", "INJ")  # oedema, scars of panretinal and of macular laser, injections
QUADRANTS = ("ST", "SN", "IT", "IN")
SITES = ("north", "harbour", "delta")

TERMS = {
    "north": {
        "MA": (["microaneurysms", "retinal microaneurysms"], ["microaneurysmal dots"], ["saccular capillary dilatations"]),
        "IRH": (["intraretinal haemorrhages", "dot and blot haemorrhages", "retinal haemorrhages"], ["deep round haemorrhages"], ["flame-shaped haemorrhages"]),
        "HE": (["hard exudates", "lipid exudates"], ["hard exudation"], ["waxy exudates"]),
        "CWS": (["cotton wool spots", "soft exudates"], ["nerve fibre layer infarcts"], ["nerve fibre infarct patches"]),
        "VB": (["venous beading", "beading of the veins"], ["venous sausaging"], ["segmental venous dilatation"]),
        "IRMA": (["intraretinal microvascular abnormalities", "IRMA"], ["intraretinal shunt vessels"], ["dilated intraretinal capillary segments"]),
        "NVD": (["new vessels at the disc", "disc neovascularisation"], ["optic disc new vessels"], ["neovascularisation of the papilla"]),
        "NVE": (["new vessels elsewhere", "new vessels along the arcades"], ["peripheral new vessels"], ["retinal neovascularisation off the disc"]),
        "VH": (["vitreous haemorrhage", "preretinal haemorrhage"], ["subhyaloid haemorrhage"], ["blood in the vitreous"]),
        "DME": (["macular oedema", "diabetic macular oedema", "macular thickening"], ["swelling of the macula"], ["fluid in the macula"]),
        "LASER": (["panretinal laser scars", "scatter laser scars"], ["peripheral photocoagulation marks"], ["old panretinal laser burns"]),
        "GRID": (["macular laser scars", "grid laser scars at the macula"], ["photocoagulation marks at the macula"], ["old parafoveal laser burns"]),
        "INJ": (["intravitreal injections", "anti-VEGF injections"], ["aflibercept injections"], ["ranibizumab injections"]),
    },
    "harbour": {
        "MA": (["MA", "MAs", "microan"], ["m'aneurysms"], ["mic. aneur"]),
        "IRH": (["DBH", "IRH", "haems"], ["D/B H"], ["flame hges"]),
        "HE": (["HE", "hard ex"], ["hex"], ["lip. ex"]),
        "CWS": (["CWS", "cotton wool"], ["sft ex"], ["CW spots"]),
        "VB": (["VB", "ven. beading"], ["v. bead"], ["beaded veins"]),
        "IRMA": (["IRMA", "IRMAs"], ["intraret. shunts"], ["intraret. microvasc. abn"]),
        "NVD": (["NVD", "NV disc"], ["NV on ONH"], ["neovasc. disc"]),
        "NVE": (["NVE", "NV elsewhere"], ["NV arcades"], ["neovasc. periph."]),
        "VH": (["VH", "vit. haem", "PRH"], ["subhyaloid haem"], ["vitr. bleed"]),
        "DME": (["DMO", "mac oedema"], ["mac. swelling"], ["mac fluid"]),
        "LASER": (["PRP scars", "PRP laser scars"], ["scatter marks"], ["old PRP burns"]),
        "GRID": (["mac laser scars", "grid scars"], ["mac. photocoag. marks"], ["old grid burns"]),
        "INJ": (["anti-VEGF", "IVT inj"], ["aflibercept IVT"], ["ranibizumab IVT"]),
    },
    "delta": {
        "MA": (["微动脉瘤|microaneurysms", "微血管瘤|microaneurysms", "MA|microaneurysms"], ["点状微血管瘤|dot-like microaneurysms"], ["微动脉瘤样扩张|microaneurysmal dilatations"]),
        "IRH": (["视网膜出血|retinal haemorrhages", "点片状出血|dot and blot haemorrhages", "视网膜内出血|intraretinal haemorrhages"], ["斑点状出血|dot and blot haemorrhages"], ["火焰状出血|flame-shaped haemorrhages"]),
        "HE": (["硬性渗出|hard exudates", "黄白色硬性渗出|yellow-white hard exudates"], ["脂质沉着|lipid deposits"], ["蜡样渗出|waxy exudates"]),
        "CWS": (["棉絮斑|cotton wool spots", "棉絮状渗出|cotton wool spots"], ["软性渗出|soft exudates"], ["棉绒斑|cotton wool patches"]),
        "VB": (["静脉串珠|venous beading", "静脉串珠样改变|venous beading"], ["静脉腊肠样改变|venous sausaging"], ["静脉节段性扩张|segmental venous dilatation"]),
        "IRMA": (["IRMA|intraretinal microvascular abnormalities", "视网膜内微血管异常|intraretinal microvascular abnormalities"], ["视网膜内异常微血管|abnormal intraretinal microvessels"], ["视网膜内毛细血管扩张段|dilated intraretinal capillary segments"]),
        "NVD": (["视盘新生血管|new vessels at the disc", "NVD|new vessels at the disc"], ["视乳头新生血管|new vessels at the optic papilla"], ["视盘表面血管增生|vascular proliferation on the disc"]),
        "NVE": (["视盘外新生血管|new vessels away from the disc", "NVE|new vessels elsewhere"], ["血管弓处新生血管|new vessels at the arcades"], ["周边部新生血管|peripheral new vessels"]),
        "VH": (["玻璃体积血|vitreous haemorrhage", "视网膜前出血|preretinal haemorrhage"], ["玻璃体出血|bleeding into the vitreous"], ["玻璃体腔血性混浊|blood clouding the vitreous"]),
        "DME": (["黄斑水肿|macular oedema", "糖尿病性黄斑水肿|diabetic macular oedema", "DME|diabetic macular oedema"], ["黄斑肿胀|swelling of the macula"], ["黄斑区积液|fluid in the macula"]),
        "LASER": (["全视网膜激光斑|panretinal laser scars", "PRP激光斑|panretinal laser scars"], ["周边部光凝斑|peripheral photocoagulation marks"], ["全视网膜光凝瘢痕|panretinal photocoagulation scars"]),
        "GRID": (["黄斑区激光斑|laser scars at the macula", "黄斑格栅光凝斑|grid laser scars at the macula"], ["黄斑部光凝痕|photocoagulation marks at the macula"], ["中心凹旁陈旧光凝斑|old laser scars beside the fovea"]),
        "INJ": (["抗VEGF注射|anti-VEGF injections", "玻璃体腔注药|intravitreal injections"], ["阿柏西普注射|aflibercept injections"], ["雷珠单抗注射|ranibizumab injections"]),
    },
}

# {t} is a list of terms; in a present clause each term carries its own place.
PRESENT = {
    "north": (["On examination, {t}.", "Seen: {t}.", "Findings: {t}.", "Present: {t}.", "Noted: {t}."], ["The fundus shows {t}.", "Made out: {t}."], ["Examination reveals {t}.", "Visible: {t}."]),
    "harbour": (["shows {t}.", "noted: {t}.", "+ {t}.", "present: {t}."], ["(+) {t}.", "pos for {t}."], ["seen: {t}.", "has {t}."]),
    "delta": (["可见{t}。|Can be seen: {t}.", "见{t}。|Seen: {t}.", "有{t}。|Present: {t}.", "眼底：{t}。|Fundus: {t}."], ["查见{t}。|Examination finds {t}.", "示{t}。|Shows {t}."], ["检出{t}。|Detected: {t}.", "眼底示{t}。|The fundus shows {t}."]),
}
ABSENT = {  # after a form that begins with the names, "and" joins them, else "or"
    "north": (
        ["No {t}.", "No {t} seen.", "No evidence of {t}.", "No sign of {t}.", "{t}: none."],
        ["{t} could not be found.", "Not showing {t}."],
        ["Negative for {t}.", "{t}: not detected."],
    ),
    "harbour": (["No {t}.", "{t}: nil.", "No {t} seen.", "Nil {t}."], ["{t}: 0.", "neg for {t}."], ["{t}: not seen.", "w/o {t}."]),
    "delta": (["未见{t}。|No {t} seen.", "无{t}。|No {t}.", "{t}：(-)。|{t}: negative.", "未见明显{t}。|No obvious {t} seen."], ["{t}：阴性。|{t}: negative.", "并无{t}。|No {t} at all."], ["{t}：未检出。|{t}: not detected.", "未发现{t}。|No {t} found."]),
}
UNCERTAIN = {
    "north": (["Possible {t}, not definite.", "Questionable {t}.", "{t} cannot be excluded."], ["Perhaps {t}, too faint to be sure."], ["Doubtful {t}, to be looked at again."]),
    "harbour": (["?{t}.", "poss {t}, not definite.", "query {t}."], ["susp. {t}, unconfirmed."], ["equivocal {t}."]),
    "delta": (["可疑{t}。|Suspected {t}.", "{t}不能除外。|{t} cannot be excluded.", "疑有{t}。|Suspicion of {t}."], ["疑似{t}，未确诊。|Suspected {t}, not confirmed."], ["{t}存疑。|{t} in doubt."]),
}
PAST = {  # it was there and went by itself, as haemorrhages and exudates do
    "north": (
        ["{t} at the last visit, since resolved.", "Previous {t}, no longer seen.", "Earlier photographs showed {t}, now cleared."],
        ["The {t} of last year have gone."],
        ["{t} seen before have faded."],
    ),
    "harbour": (["prev {t}, resolved.", "{t} last visit, now gone.", "h/o {t}, cleared."], ["{t} in old photos only."], ["{t} faded since last."]),
    "delta": (["上次见{t}，本次未见。|{t} at the last visit, not seen now.", "曾有{t}，现未见。|{t} in the past, not seen now.", "既往{t}，现消失。|Previous {t}, gone now."], ["旧片见{t}，现无。|{t} in old photographs, none now."], ["{t}较前消失。|{t} gone since the last time."]),
}
REGRESSED = {  # treated new vessels, haemorrhage or oedema
    "north": (
        ["Previous {t}, gone after treatment.", "Treated {t}, not seen now.", "Old {t}, resolved since treatment."],
        ["Treated {t}, no longer present."],
        ["{t} in the past, absent since treatment."],
    ),
    "harbour": (["prev {t}, gone post Rx.", "old {t}, treated, clear now.", "h/o {t}, resolved post Rx."], ["ex-{t}, clear since Rx."], ["{t} before Rx only."]),
    "delta": (["既往{t}，治疗后消失。|Previous {t}, gone after treatment.", "原有{t}，治疗后未再见。|Former {t}, not seen again after treatment.", "曾有{t}，经治疗现无。|{t} in the past, none now after treatment."], ["{t}已治愈。|{t}, healed."], ["{t}仅见于治疗前。|{t} only before treatment."]),
}
FAMILY = {
    "north": (["Mother had {t}.", "Family history of {t} in the father.", "A brother was treated for {t}."], ["An aunt lost sight from {t}."], ["{t} in a sister, known for years."]),
    "harbour": (["FHx: {t} (mother).", "father had {t}."], ["sib with {t}."], ["FH pos, {t} in sister."]),
    "delta": (["家族史：母亲曾有{t}。|Family history: the mother had {t}.", "父亲曾有{t}。|The father had {t}."], ["其兄有{t}病史。|A brother has a history of {t}."], ["其姐曾患{t}。|A sister had {t}."]),
}
FAMILY_HAD = {  # what a family remembers: it costs sight
    "north": {"VH": "vitreous haemorrhage", "DME": "diabetic macular oedema"},
    "harbour": {"VH": "VH", "DME": "DMO"},
    "delta": {"VH": "玻璃体积血|vitreous haemorrhage", "DME": "糖尿病性黄斑水肿|diabetic macular oedema"},
}
RETRACT = {
    "north": (["Correction: {t} not confirmed on review.", "Correction: no {t} after second reading."], ["Amended: please disregard {t} above."], ["On second look, withdrawn: {t}."]),
    "harbour": (["Corr: {t} not confirmed.", "Corr: no {t} on 2nd read."], ["amend: strike {t}."], ["rev: {t} withdrawn."]),
    "delta": (["更正：复核未见{t}。|Correction: no {t} on review.", "更正：{t}复核未证实。|Correction: {t} not confirmed on review."], ["修改：删除上述{t}。|Amended: strike the {t} above."], ["复阅后撤销{t}。|{t} withdrawn after second reading."]),
}
EXTEND = {
    "north": (["Addendum: {t} also present on review.", "Addendum: second reading finds {t}."], ["Amended: {t} had been overlooked."], ["On second look {t} as well."]),
    "harbour": (["ADD: {t} on review.", "ADD: 2nd read {t} +."], ["amend: {t} missed first time."], ["rev: also {t}."]),
    "delta": (["补充：复核可见{t}。|Addendum: {t} seen on review.", "补充：尚有{t}。|Addendum: {t} as well."], ["修改：漏报{t}。|Amended: {t} had been left out."], ["复阅后增补{t}。|{t} added after second reading."]),
}
FELLOW = {  # the other eye, mentioned in passing in a report about one eye
    "north": (["The fellow eye shows {t}.", "For comparison, the {o} eye has {t}."], ["Its fellow, reported separately, shows {t}."], ["On the other side, {t}."]),
    "harbour": (["fellow eye: {t}.", "{O} (sep. report): {t}."], ["contralat: {t}."], ["other eye has {t}."]),
    "delta": (["对侧眼可见{t}。|The fellow eye shows {t}.", "{O}另行报告：{t}。|{O}, reported separately: {t}."], ["另一眼可见{t}。|The other eye shows {t}."], ["对侧比较：{t}。|The other side, for comparison: {t}."]),
}
FELLOW_WELL = {  # the same when there is nothing in it
    "north": (["The fellow eye is healthy."], ["Its fellow, reported separately, is free of disease."], ["The other side is clear."]),
    "harbour": (["fellow eye ok."], ["contralat: ok."], ["other eye fine."]),
    "delta": (["对侧眼未见病变。|No disease in the fellow eye."], ["另一眼无殊。|Nothing in the other eye."], ["对侧未见特殊。|Nothing particular on the other side."]),
}
AND = {"north": (", ", " and ", " or "), "harbour": (", ", ", ", ", "), "delta": ("、", "、", "、"), "gloss": (", ", " and ", " or ")}
PLACES = {"north": (", ", " and "), "harbour": ("+", "+"), "delta": ("、", "、"), "gloss": (", ", " and ")}  # between quadrants
PARTS = {"north": "; ", "harbour": "; ", "delta": "；", "gloss": "; "}  # between findings with places of their own
COLON = {"north": ": ", "harbour": ": ", "delta": "：", "gloss": ": "}
NIL = {"north": "none", "harbour": "nil", "delta": "无", "gloss": "none"}
AGAIN = {"north": "Also {t}.", "harbour": "also {t}.", "delta": "另见{t}。", "gloss": "Also {t}."}  # where an opening was used
QUERY = {"north": "possible", "harbour": "poss", "delta": "可疑", "gloss": "possible"}
STOP = {"north": ".", "harbour": ".", "delta": "。", "gloss": "."}

# Oedema: {t} is its name. Central means that the centre of the macula is involved.
CENTRAL = {
    "north": (["Centre-involving {t}.", "{t} involving the fovea.", "{t} at the centre on OCT."], ["{t} right under the fovea."], ["{t} that reaches the foveola."]),
    "harbour": (["{t}, centre involved.", "CI {t}.", "{t} at fovea on OCT."], ["{t} subfoveal."], ["{t}, foveola in it."]),
    "delta": (["{t}累及中心凹。|{t} involving the fovea.", "{t}，中心凹受累。|{t}, the fovea involved.", "OCT示{t}，累及中心凹。|OCT shows {t} involving the fovea."], ["{t}位于中心凹下。|{t} under the fovea."], ["{t}达中心小凹。|{t} that reaches the foveola."]),
}
OFF_CENTRE = {
    "north": (["{t} not involving the centre.", "{t} sparing the fovea.", "Extrafoveal {t}."], ["{t} to one side, the centre being dry."], ["{t} outside the central subfield."]),
    "harbour": (["{t}, centre spared.", "NCI {t}.", "extrafov. {t}."], ["{t} parafov. only."], ["{t} outside CSF."]),
    "delta": (["{t}未累及中心凹。|{t} not involving the fovea.", "中心凹外{t}。|{t} outside the fovea.", "{t}，中心凹未受累。|{t}, the fovea not involved."], ["{t}偏于一侧，中心未受累。|{t} to one side, the centre not involved."], ["{t}限于中央区以外。|{t} outside the central zone."]),
}
FLAT = {  # no oedema, in other words
    "north": (["The macula is flat.", "The macula is dry on OCT."], ["Normal foveal contour."], ["Foveal pit preserved."]),
    "harbour": (["mac flat.", "mac dry on OCT."], ["foveal contour N."], ["foveal pit ok."]),
    "delta": (["黄斑平伏。|The macula is flat.", "黄斑无水肿。|No oedema of the macula."], ["中心凹形态正常。|The foveal contour is normal."], ["中心凹反光清。|The foveal reflex is clear."]),
}
# Treatment: {t} is its name, {k} a number of injections
INJECTED = {
    "north": (["Treated with {t}.", "Has had {k} {t}.", "Under treatment with {t}."], ["{t}, {k} given so far."], ["{t} ongoing, number {k} last month."]),
    "harbour": (["had {t} x{k}.", "on {t}.", "s/p {t}, {k} so far."], ["{t} #{k} done."], ["{t} course, {k} given."]),
    "delta": (["已行{t}{k}次。|Has had {k} {t}.", "{t}治疗中。|Under treatment with {t}.", "曾行{t}。|Has had {t}."], ["{t}共{k}针。|{t}, {k} in all."], ["累计{t}{k}次。|{t}, {k} so far."]),
}
UNTREATED = {
    "north": (["No previous {t}.", "Never had {t}."], ["{t} have not been needed."], ["Has not received {t}."]),
    "harbour": (["no prev {t}.", "never had {t}."], ["no {t} to date."], ["{t}: none so far."]),
    "delta": (["未行{t}。|Has not had {t}.", "无{t}史。|No history of {t}."], ["至今未行{t}治疗。|No {t} to this day."], ["从未接受{t}。|Never had {t}."]),
}
PLANNED = {  # {t} is what is to be done: it has not been done
    "north": (["Listed for {t}.", "{t} to be arranged."], ["Awaiting {t}."], ["Consented for {t}, date to follow."]),
    "harbour": (["listed for {t}.", "plan: {t}."], ["awaits {t}."], ["{t} booked."]),
    "delta": (["拟行{t}。|Planned: {t}.", "建议行{t}。|Advised: {t}."], ["待行{t}。|Awaiting {t}."], ["已预约{t}。|Booked: {t}."]),
}
TO_DO = {
    "north": {"LASER": (["panretinal laser", "scatter laser treatment"], ["peripheral photocoagulation"], ["full panretinal treatment"]), "INJ": (["intravitreal injections", "anti-VEGF treatment"], ["a course of aflibercept"], ["a course of ranibizumab"])},
    "harbour": {"LASER": (["PRP"], ["scatter Rx"], ["panret. laser"]), "INJ": (["anti-VEGF", "IVT"], ["aflibercept"], ["ranibizumab"])},
    "delta": {"LASER": (["全视网膜光凝|panretinal laser", "PRP|panretinal laser"], ["周边部光凝|peripheral photocoagulation"], ["全视网膜激光治疗|panretinal laser treatment"]), "INJ": (["抗VEGF治疗|anti-VEGF treatment", "玻璃体腔注射|intravitreal injections"], ["阿柏西普治疗|aflibercept"], ["雷珠单抗治疗|ranibizumab"])},
}
UNDONE = {"north": ("laser", "injections"), "harbour": ("laser", "IVT"), "delta": ("激光|laser", "注药|injections")}  # what an untreated eye has not had

# where: {q} is a list of quadrants, {n} a number (digit or word)
EYES = {
    "north": {"right": (["Right eye", "The right eye"], ["On the right"], ["For the right eye"]), "left": (["Left eye", "The left eye"], ["On the left"], ["For the left eye"])},
    "harbour": {"right": (["OD", "RE"], ["R"], ["R eye"]), "left": (["OS", "LE"], ["L"], ["L eye"])},
    "delta": {"right": (["右眼|Right eye", "OD|Right eye"], ["右|Right"], ["右侧|Right side"]), "left": (["左眼|Left eye", "OS|Left eye"], ["左|Left"], ["左侧|Left side"])},
}
QUADRANT_NAMES = {
    "north": {"ST": "superotemporally", "SN": "superonasally", "IT": "inferotemporally", "IN": "inferonasally"},
    "harbour": {"ST": "ST", "SN": "SN", "IT": "IT", "IN": "IN"},
    "delta": {"ST": "颞上", "SN": "鼻上", "IT": "颞下", "IN": "鼻下"},
}
QUADRANT_NAMES["gloss"] = QUADRANT_NAMES["north"]
NUMBERS = {
    "north": (["in {d} quadrants", "in {w} quadrants"], ["in {w} of the quadrants"], ["in {d} of 4 quadrants"]),
    "harbour": (["{d}Q", "x{d} quad"], ["{d} of 4 Q"], ["{d} quads"]),
    "delta": (["{d}个象限|in {d} quadrants", "{c}个象限|in {w} quadrants"], ["分布于{c}象限|spread over {w} quadrants"], ["{d}象限|in {d} quadrants"]),
}
ALL_FOUR = {
    "north": (["in all four quadrants", "in each quadrant"], ["throughout every quadrant"], ["in all 4 quadrants"]),
    "harbour": (["all Q", "4Q", "all 4 quad"], ["every Q"], ["Q1-4"]),
    "delta": (["四个象限|in four quadrants", "各象限|in each quadrant"], ["全部象限|in all quadrants"], ["四象限均|in every one of four quadrants"]),
}
ALL_BUT = {
    "north": (["in all quadrants except {q}"], ["everywhere but {q}"], ["in the three quadrants other than {q}"]),
    "harbour": (["all Q except {q}"], ["all but {q}"], ["3Q, {q} free"]),
    "delta": (["{q}以外各象限|in all quadrants except {q}"], ["除{q}外三象限|in the three quadrants other than {q}"], ["{q}以外三个象限|in three quadrants, not {q}"]),
}
HEAVY = {  # in one quadrant, then in several
    "one": {
        "north": (["more than 20 {t} {w}", "extensive {t} {w}, over 20"], ["{t} {w}, beyond count, well above 20"], ["upwards of 20 {t} {w}"]),
        "harbour": ([">20 {t} {w}", "{t}+++ (>20) {w}"], ["{t} {w} 20+"], ["{t} {w}, >20"]),
        "delta": (["{w}{t}>20个|more than 20 {t} {w}", "{w}大量{t}(>20个)|many {t} {w} (over 20)"], ["{w}{t}，逾20个|{t} {w}, upwards of 20"], ["{w}{t}超过20个|{t} {w}, beyond 20"]),
    },
    "several": {
        "north": (["{t} {w}, more than 20 in each", "{t} {w} (over 20 in each)", "extensive {t} {w}, >20 per quadrant"], ["{t} {w}, beyond count, well above 20 each"], ["{t} {w}, upwards of 20 apiece"]),
        "harbour": (["{t} {w}, >20 each", "{t} {w} >20 ea", "{t}+++ (>20/Q) {w}"], ["{t} {w} 20+ ea"], ["{t} {w}, each Q >20"]),
        "delta": (["{w}{t}，每象限均>20个|{t} {w}, over 20 in each", "{w}大量{t}(每象限>20个)|many {t} {w} (over 20 in each quadrant)"], ["{w}{t}，每象限逾20个|{t} {w}, upwards of 20 in each quadrant"], ["{w}{t}，各超过20个|{t} {w}, each beyond 20"]),
    },
}
LIGHT = {  # few haemorrhages, said to be few
    "one": {
        "north": (["fewer than 20 {t} {w}", "occasional {t} {w}", "a few {t} {w}"], ["{t} {w}, a handful"], ["scattered {t} {w}, not many"]),
        "harbour": (["<20 {t} {w}", "few {t} {w}"], ["{t} {w}, sparse"], ["occ {t} {w}"]),
        "delta": (["{w}少量{t}|a few {t} {w}", "{w}{t}(<10个)|{t} {w} (under 10)"], ["{w}散在数个{t}|scattered {t} {w}, several"], ["{w}偶见{t}|occasional {t} {w}"]),
    },
    "several": {
        "north": (["{t} {w}, fewer than 20 in each", "occasional {t} {w}", "{t} {w} (under 10 in each)"], ["{t} {w}, a handful in each"], ["scattered {t} {w}, not many"]),
        "harbour": (["{t} {w}, <20 each", "few {t} {w}", "{t} {w} <10 ea"], ["{t} {w}, sparse"], ["occ {t} {w}"]),
        "delta": (["{w}少量{t}|a few {t} {w}", "{w}{t}(每象限<10个)|{t} {w} (under 10 in each quadrant)"], ["{w}散在数个{t}|scattered {t} {w}, several"], ["{w}偶见{t}|occasional {t} {w}"]),
    },
}
PLACED = {"north": "{t} {w}", "harbour": "{t} {w}", "delta": "{w}{t}", "gloss": "{t} {w}"}

# Sentences that decide nothing: none is likelier at one grade than at another. Their numbers must not be mistaken for counts.
ASIDES = {
    "north": [
        "Image quality is adequate.", "Two fields of each eye, pupils dilated.", "Early lens opacity in both eyes.", "HbA1c {m} mmol/mol.", "Diabetes for {y} years.",
        "Blood pressure {s}/{d}.", "Cup to disc ratio 0.{c} in both eyes.", "Visual acuity {v} right, {w} left.",
        "Intraocular pressure {i} mmHg right, {j} left.", "Takes {g}.",
    ],
    "harbour": [
        "IQ ok OU.", "2 fields OU.", "NS+1 OU.", "HbA1c {m} mmol/mol.", "T2DM {y}y.", "BP {s}/{d}.", "CDR 0.{c} OU.", "VA R {v} L {w}.", "IOP R {i} L {j}.",
        "on {g}.",
    ],
    "delta": [
        "双眼图像清晰。|The images of both eyes are clear.", "HbA1c {p}%。|HbA1c {p}%.", "糖尿病{y}年。|Diabetes for {y} years.", "BP {s}/{d}。|Blood pressure {s}/{d}.",
        "双眼C/D 0.{c}。|Cup to disc ratio 0.{c} in both eyes.", "视力：右{x}，左{z}。|Visual acuity: {x} right, {z} left.",
        "眼压：右{i}mmHg，左{j}mmHg。|Intraocular pressure: {i} mmHg right, {j} mmHg left.", "双眼晶状体轻度混浊。|Early lens opacity in both eyes.",
        "现用{h}。|Takes {g}.",
    ],
}
SNELLEN, DECIMAL = ("6/6", "6/7.5", "6/9", "6/12"), ("1.0", "0.8", "0.7", "0.5")  # lines of a chart
DRUGS = (("metformin", "二甲双胍"), ("gliclazide", "格列齐特"), ("empagliflozin", "恩格列净"), ("insulin", "胰岛素"))
NORMAL = {
    "north": (["The retina looks healthy.", "Normal fundus."], ["Nothing abnormal detected."], ["No pathology in the fundus."]),
    "harbour": (["NAD.", "fundus normal."], ["unremarkable."], ["fundus clear."]),
    "delta": (["眼底未见异常。|Nothing abnormal in the fundus.", "眼底正常。|Normal fundus."], ["眼底大致正常。|The fundus is by and large normal."], ["眼底无殊。|Nothing remarkable in the fundus."]),
}
STATED = {  # the leak that notebook 08 finds: a few percent of reports state their grade
    "north": ["No diabetic retinopathy.", "Mild NPDR.", "Moderate NPDR.", "Severe NPDR.", "Proliferative DR."],
    "harbour": ["DR grade 0.", "DR grade 1.", "DR grade 2.", "DR grade 3.", "DR grade 4."],
    "delta": ["无DR。|No diabetic retinopathy.", "轻度NPDR。|Mild NPDR.", "中度NPDR。|Moderate NPDR.", "重度NPDR。|Severe NPDR.", "PDR。|Proliferative DR."],
}
IMPRESSIONS = ["No apparent retinopathy", "Mild NPDR", "Moderate NPDR", "Severe NPDR", "Proliferative DR"]
# fmt: on


def half(entry, i):
    """A table's entry with the Chinese half (0) or the English half (1) of each of its forms."""
    if isinstance(entry, str):
        return entry.split("|")[i]
    if isinstance(entry, dict):
        return {key: half(value, i) for key, value in entry.items()}
    return type(entry)(half(value, i) for value in entry)


for _table in [t for t in [*vars().values(), *HEAVY.values(), *LIGHT.values()] if isinstance(t, dict) and "delta" in t]:
    if "gloss" not in _table:
        _table["gloss"], _table["delta"] = half(_table["delta"], 1), half(_table["delta"], 0)
