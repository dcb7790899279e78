"""Words around the names of medicines, for `names.py`.

What labels put beside a name (forms, salts), what one substance is called elsewhere, and ordinary
words that are, or sound like, names. Chinese is in Simplified characters, as canonical text is.
"""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FORM_WORDS = _words(
    "evohaler accuhaler turbuhaler respimat handihaler ellipta rapihaler nexthaler diskus"
    " easyhaler breezhaler genuair discus tab tabs tablet tablets cap caps capsule capsules"
    " caplet caplets inj injection injectable injections syr syrup susp suspension soln sol"
    " solution elixir linctus oral po iv im sc sl pr er xr xl sr cr la ec dr mr retard oros hbs"
    " oad lar depot film coated f.c fc fct enteric e.c delayed release extended sustained"
    " modified slow prolonged controlled immediate ir chewable dispersible odt mups orally"
    " disintegrating sublingual effervescent effer pwd powder powders gran granules granule"
    " sachet sachets cream crm oint ointment gel lotion patch patches tts transdermal supp"
    " suppository suppositories pessary enema drop drops eye ear nasal ophthalmic otic topical"
    " spray sprays inhaler inhalation mdi dpi nebuliser nebulizer nebules neb respules aerosol"
    " hfa pen pens flexpen kwikpen solostar penfill cartridge vial vials amp amps ampoule"
    " ampule ampul ampoules prefilled pre-filled syringe bottle for of the take my a an some"
    " generic brand usp bp ep jp nf ph eur strength each with water medicine medication drug"
    " pill pills qd bid tid qid hs prn ac pc stat gastro-resistant gastroresistant soft softgel"
    " hard lozenge mouthwash shampoo infusion concentrate lyophilized dry"
)
"""What a label says besides the name, in Latin letters."""
CHINESE_FORMS = _words(
    "持续性药效膜衣锭 持续性药效锭 持续性药效胶囊 持续性释放锭 持续释放锭 持续性膜衣锭 持续性"
    " 缓释胶囊 缓释片 缓释锭 缓释 控释片 控释锭 控释 延释 肠溶微粒胶囊 肠溶膜衣锭 肠溶胶囊"
    " 肠溶片 肠溶锭 肠溶 肠衣锭 薄膜衣锭 膜衣锭 薄膜 糖衣锭 口腔崩散锭 口腔崩解片 口崩片 口溶锭"
    " 口溶 咀嚼锭 咀嚼片 发泡锭 泡腾片 舌下锭 舌下片 口含锭 含片 分散片 分散锭 可溶锭 双层锭"
    " 锭剂 片剂 软胶囊 硬胶囊 胶囊剂 胶囊 预充填注射笔 预填式注射笔 预充式注射笔 注射笔"
    " 笔型注射剂 静脉注射剂 静脉输注液 乾粉注射剂 干粉注射剂 冻晶注射剂 注射用 注射液 注射剂"
    " 针剂 输注液 输液 点滴 糖浆用粉剂 糖浆剂 糖浆 口服溶液 口服悬液 口服液 内服液剂 内服液"
    " 干混悬剂 混悬液 悬液用粉剂 悬液 悬浮液 口服滴剂 滴剂 颗粒剂 颗粒 细粒 散剂 粉剂 粉末 冲剂"
    " 眼药水 点眼液 滴眼液 眼用液剂 眼药膏 眼膏 耳滴剂 滴耳液 鼻用喷液剂 鼻喷剂 鼻喷雾剂 喷鼻液"
    " 定量喷雾吸入剂 定量喷雾剂 喷雾剂 喷雾 喷剂 粉状吸入剂 吸入用 吸入剂 吸入液 吸入胶囊"
    " 气雾剂 定量 雾化液 软膏 乳膏 药膏 乳霜 霜剂 凝胶 外用液 洗剂 贴片剂 贴片 穿皮贴片 穿皮贴"
    " 栓剂 塞剂 灌肠剂 阴道锭 阴道栓剂 漱口水 洗发液 溶液 液剂 加强型 加强锭 加强 长效型 长效锭"
    " 长效 速效 儿童 小儿 成人 每日一次 口服 内服 外用 复方药 药片 药水 药丸 药 锭 片 针 丸 膏"
    " 霜 剂"
)
"""What a label says after the name, in Chinese."""
SALTS = _words(
    "hydrochloride hcl dihydrochloride monohydrochloride hydrobromide hbr bromide chloride"
    " iodide fluoride sodium na disodium trisodium potassium k calcium ca magnesium mg zinc"
    " lysine arginine tromethamine trometamol meglumine erbumine besylate besilate camsylate"
    " mesylate mesilate tosylate tosilate edisylate esylate maleate fumarate hemifumarate"
    " succinate tartrate bitartrate hemitartrate citrate dihydrogen lactate gluconate malate"
    " oxalate acetate diacetate trihydrate dihydrate monohydrate hemihydrate hydrate anhydrous"
    " phosphate diphosphate sulfate sulphate bisulfate bisulphate hydrogen nitrate mononitrate"
    " carbonate palmitate decanoate enanthate propionate dipropionate furoate valerate pivalate"
    " benzoate xinafoate embonate pamoate stearate ethylsuccinate estolate axetil proxetil"
    " medoxomil cilexetil etexilate mofetil fosamil dipivoxil sesquihydrate teoclate napsylate"
    " aspartate orotate hyclate hemihydrochloride hemicalcium acid base"
)
MINERALS = _words(
    "sodium potassium calcium magnesium zinc iron ferrous ferric lithium aluminium aluminum"
    " silver barium copper selenium iodine fluoride phosphate"
)
"""Without its salt such a name is another medicine: magnesium sulfate is no magnesium oxide."""
CHINESE_SALTS_BEFORE = _words(
    "苯磺酸 盐酸 硫酸氢 硫酸 酒石酸 琥珀酸 富马酸 反丁烯二酸 马来酸 枸橼酸 柠檬酸 磷酸 醋酸"
    " 甲磺酸 氢溴酸 双丙酸 丙酸 糠酸 戊酸 门冬氨酸"
)
CHINESE_SALTS_AFTER = _words("二钠 钠 钾 钙 镁 锌 盐酸盐 硫酸盐 磷酸盐 醋酸盐 盐 酯")

SPELLINGS = tuple(
    tuple(name.strip() for name in line.split(","))
    for line in """
    paracetamol, acetaminophen, apap
    adrenaline, epinephrine
    noradrenaline, norepinephrine
    furosemide, frusemide
    salbutamol, albuterol
    ciclosporin, cyclosporine, cyclosporin, ciclosporine
    rifampicin, rifampin
    glibenclamide, glyburide
    pethidine, meperidine
    glyceryl trinitrate, nitroglycerin, nitroglycerine, gtn, ntg, trinitroglycerin
    acetylsalicylic acid, aspirin, asa
    aciclovir, acyclovir
    valaciclovir, valacyclovir
    ganciclovir, gancyclovir
    lidocaine, lignocaine, xylocaine
    levothyroxine, thyroxine, l thyroxine
    isoprenaline, isoproterenol
    colestyramine, cholestyramine
    cromoglicate, cromolyn, cromoglycate
    phytomenadione, phytonadione
    mesalazine, mesalamine, 5 asa
    ergometrine, ergonovine
    hyoscine, scopolamine
    glycopyrronium, glycopyrrolate
    torasemide, torsemide
    bendroflumethiazide, bendrofluazide
    suxamethonium, succinylcholine
    hydroxycarbamide, hydroxyurea
    folinic acid, leucovorin
    chlorphenamine, chlorpheniramine
    alimemazine, trimeprazine
    dosulepin, dothiepin
    indometacin, indomethacin
    beclometasone, beclomethasone
    dexamethasone, dexametasone
    amoxicillin, amoxycillin
    cefalexin, cephalexin
    cefradine, cephradine
    cefazolin, cephazolin
    cefadroxil, cephadroxil
    estradiol, oestradiol
    estriol, oestriol
    clomifene, clomiphene
    thiamazole, methimazole
    trihexyphenidyl, benzhexol
    benzatropine, benztropine
    retinol, vitamin a
    ascorbic acid, vitamin c
    thiamine, vitamin b1
    pyridoxine, vitamin b6
    cyanocobalamin, vitamin b12
    tocopherol, vitamin e
    valproate, valproic acid, divalproex
    pentamidine, pentamidin
    guaifenesin, guaiphenesin
    procaterol, procaterole
    sulfasalazine, sulphasalazine, salazopyrin
    riboflavin, riboflavine
    phenobarbital, phenobarbitone
    thiopental, thiopentone
    moxisylyte, thymoxamine
    methyldopa, alpha methyldopa
    vasopressin, antidiuretic hormone
    desmopressin, ddavp
    hydrochlorothiazide, hctz
    isosorbide mononitrate, ismn
    isosorbide dinitrate, isdn
    methotrexate, mtx
    propylthiouracil, ptu
    isoniazid, inh
    sulfamethoxazole, sulphamethoxazole
    trimethoprim sulfamethoxazole, co trimoxazole, tmp smx, smx tmp, cotrimoxazole
    amoxicillin clavulanate, co amoxiclav, amoxiclav, amoxicillin clavulanic acid
    carbidopa levodopa, co careldopa
    benserazide levodopa, co beneldopa
    dimeticone, simeticone, simethicone, dimethicone
    oxetacaine, oxethazaine
    dipyridamole, dipyridamol
    tranexamic acid, txa
    potassium chloride, kcl
    magnesium oxide, mgo
    sodium chloride, nacl
    """.strip().splitlines()
)
"""Names of one substance: INN and British, US, older, and what charts abbreviate (WHO INN lists,
BAN to rINN change of 2003)."""

ORDINARY_LATIN = _words(
    "same refresh through tulip water sugar salt air oxygen milk tea coffee juice food rice"
    " soup fruit pill pills tablet tablets capsule medicine medicines medication medications"
    " drug drugs doctor nurse pharmacist patient hospital robot morning evening night today"
    " tomorrow yesterday breakfast lunch dinner please thanks thank hello sorry sleep eating"
    " eaten drink drinking taking taken stomach heart blood pressure chest head hand foot back"
    " pain fever cough cold rash allergy dizzy nausea vomit tired sick better worse normal"
    " always never sometimes maybe about after again because before could would should there"
    " their these those which where while white black green yellow orange small large round"
    " half once twice daily weekly monthly people person family mother father brother sister"
    " child children baby woman women right wrong other another first second third three four"
    " five seven eight nine ten twenty thirty forty fifty hundred thousand minute hour hours"
    " days week weeks month months year years time times name number phone home house room door"
    " floor chair table street city country question answer problem reason matter something"
    " nothing anything everything someone anyone everyone double dose doses missed forget"
    " forgot remember effect effects side serious common surgery operation test result results"
    " exam sample urine stool kidney liver lung brain skin bone muscle nerve throat nose mouth"
    " tooth teeth tongue vein artery cancer tumor tumour stroke diabetes asthma gout pregnant"
    " pregnancy alcohol wine beer smoke smoking drive driving insulin-dependent general generic"
    " brand label box bottle packet blister cream spray patch drops syrup powder liquid vitamin"
    " vitamins mineral minerals herb herbs remedy supplement supplements painkiller painkillers"
    " antibiotic antibiotics steroid steroids statin statins diuretic laxative sedative vaccine"
    " hormone protein energy calorie calories exercise walking running sitting standing lying"
    " taste smell touch sight hearing listen speak speaking talking english chinese taiwan"
    " mandarin american british okay alright welcome goodbye metal plastic paper glass knife"
    " spoon fork plate cover order extra total final local natural center central active simple"
    " single triple clear clean fresh sweet bitter sour spicy sandal candle captain relax calm"
    " foster ella sonata focus miracle alert concert concern control relief relieve release"
)
"""Words of every day: never a name that was heard with a slip."""
ORDINARY_CHINESE = _words(
    "安卓 铁片 素果 优闲 水 糖 盐 油 米 饭 菜 茶 酒 奶 药 氧气 空气 白开水 开水 牛奶 豆浆 果汁"
    " 咖啡 食物 食盐 健康 安定 稳定 固定 安全 安心 放心 开心 舒服 平安 快乐 力气 精神 活力 优点"
    " 重点 早上 中午 晚上 今天 明天 昨天 医生 医师 护理师 护士 药师 病人 家属 机器人 一颗 两颗"
    " 一次 两次 三餐 饭前 饭后 睡前 血压 血糖 心脏 肚子 头痛 头晕 不要 不用 可以 可能 没有 这个"
    " 那个 什么 怎么 多少 药物 药品 药水 药片 胶囊 维他命 维生素 营养 补品 保健 速效 长效 加强"
    " 康宁 顺利 可乐 止痛 消炎 退烧 感冒 过敏 抗生素 类固醇 止痛药 安眠药 胃药 感冒药 降血压药"
    " 血压药 血糖药 消炎药 一定 必定 肯定 决定 没事 谢谢 你好 您好 再见 早安 晚安 等一下 对不起"
    " 不好意思 好的 是的 不是 知道 了解 明白 帮忙 救命 听不懂 再说一次"
)

TALK = _words(
    "i i'm im am is it its was were be me he she his her they we you your that this those"
    " these which what do does did have has had on in at to too and or not no yes so for can"
    " could think mean said says called name took taking like want need get got give some any"
    " the"
)
"""What people say around a name."""
CHINESE_TALK = _words(
    "给 送 把 领 拿 停 换 到 过 完 开 对 上 下 后 前 来 去 或 再 跟 与 这是 开始 每天 一天"
    " 几颗 一颗 半颗 可不可以 怎么 什么 之后 之前 就 只 又 我 你 您 他 她 它 在 有 没 吃 用 打"
    " 想 要 那 个 这 颗 的 吗 呢 吧 啊 了 是 叫 请 问 说 和 也 都 还 不 会 能 可 以 药 锭 片"
    " 医师 护理师 早上 晚上 中午 睡前 今天 昨天"
)
LONGER_WORDS = _words(
    "斯斯文文 朋友 男友 女友 好友 亲友 病友 室友 爱丽丝 这类 各类 同类 分类 三酸甘油酯 三酸甘油脂"
    " 甘油三酯 甘油三脂 可定期 可定时 可定位 可定制 可迅速 安坦克 安定剂 今日 每日 昨日 平日"
    " 近日 生日 节日 假日 开始 满意 得意 注意 同意 愿意 否则 原则 规则 论文 作文 英文 中文 直达"
    " 到达 国泰 桑塔纳 沃克斯 安卓机 尚杰出 健择偶"
)
"""Words that are passed over: a name that begins inside of one is none (今日舒服 has no 日舒)."""

PARTS_OF_NAMES = _words(
    "vitamin vitamins mineral minerals american british chinese english black white green"
    " orange yellow milk rice fruit plus forte extra co single double triple natural night day"
    " child children baby women active local fresh sweet clear relief control"
)
"""Ordinary words that can be a part of a longer name."""
