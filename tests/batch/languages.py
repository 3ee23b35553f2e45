"""Sentences as people write them, and Chinese ones whose GB18030 form happens to be valid UTF-8."""

ORDINARY = {
    "French": "Où est le garçon ? Déjà vu, à l'été près du cœur naïf de Noël.",
    "French, one word": "été",
    "German": "Über den Dächern läuft eine süße Katze durch die Straße.",
    "Spanish": "¿Qué pasó mañana? Un pingüino bailó en el corazón de Málaga.",
    "Portuguese": "A avó não põe maçãs às três; é uma canção à beira-mar.",
    "Italian": "Il gatto è già lì, perché la città è più bella così.",
    "Catalan": "La col·lecció d'estiu és més bonica això és Barça.",
    "Dutch": "Een ruïne in de zee, coördinatie van vogels én één reëel idee.",
    "Danish": "Å, på øen står æblet, og en sød kat løber.",
    "Swedish": "En å, en ö, och älgen går över åkern.",
    "Norwegian": "Blåbærsyltetøy på et øde fjell ved sjøen.",
    "Finnish": "Yöllä hämärässä metsässä juoksee pieni kissa.",
    "Icelandic": "Þú ert það, óð ær á æði og ýsa í ám.",
    "Irish": "Tá fáilte romhat, a chara, ar an oíche fhada.",
    "Welsh": "Tŷ bach gwyn ger y dŵr, a chŵn yn rhedeg.",
    "Polish": "Zażółć gęślą jaźń, mały kot śpi na łące.",
    "Czech": "Příliš žluťoučký kůň úpěl ďábelské ódy.",
    "Slovak": "Kŕdeľ šťastných ďatľov učí pri ústí Váhu.",
    "Hungarian": "Árvíztűrő tükörfúrógép, őszi eső a hegyen.",
    "Romanian": "Țara și pădurea, în zori, sub ploaia caldă de vară.",
    "Croatian": "Čađavi čamac šumi niz rijeku žutog lišća.",
    "Turkish": "Yağmurlu bir gecede ışıkların altında yürüyen küçük şirin kedi. Öğüş.",
    "Azerbaijani": "Gecə küçədə gəzən kiçik pişik, ay işığı və dəniz.",
    "Latvian": "Mazs kaķēns skrien pa mežu ģimenes dārzā, ņem ļoti.",
    "Lithuanian": "Įlinkdama fechtuotojo špaga sublykčiojusi pragręžė apvalų arbūzą.",
    "Estonian": "Öösel jookseb väike kass üle jäätunud õue.",
    "Maltese": "Qattus żgħir jiġri fix-xita taħt id-dawl.",
    "Esperanto": "Eĥoŝanĝo ĉiuĵaŭde, malgranda kato.",
    "Vietnamese": "Một con mèo đi trong mưa đêm, đường phố sáng đèn, ở ngã tư.",
    "Vietnamese, decomposed": "Mo\u0323\u0302t con me\u0300o \u0111i trong mu\u031ba \u0111e\u0302m",
    "French, decomposed": "E\u0301te\u0301 a\u0300 la plage avec un garc\u0327on",
    "Yoruba": "Ọmọ ológbò kékeré ń sáré nínú òjò alẹ́.",
    "Hausa": "Ƙaramar kyanwa tana gudu a cikin ruwan sama, ɗan ɓera.",
    "Pinyin": "yì zhī māo zài yǔ zhōng xíng zǒu, lǜ sè, nǚ hái",
    "Hawaiian": "He wahi pōpoki liʻiliʻi e holo ana i ka pō ua.",
    "Russian": "Маленькая кошка идёт под дождём; съёмка с крыши.",
    "Russian, common letters": "мама, один дом",
    "Russian with brands": "USB-кабель и iPhone на столе, café «Ёлка»",
    "Ukrainian": "Їжак і ґава йдуть під дощем уночі, є місяць.",
    "Belarusian": "Маленькі коцік бяжыць пад дажджом, ўсё ззяе.",
    "Bulgarian": "Малка котка върви под дъжда през нощта.",
    "Serbian": "Мала мачка иде кроз кишу, љубав и њива, ђак и џеп.",
    "Macedonian": "Мало маче ѓаволесто трча, ќерка, ѕвезда и љубов.",
    "Kazakh": "Кішкентай мысық түнгі жаңбырда жүгіріп барады және әдемі қала өте үлкен, һәм.",
    "Tatar": "Кечкенә мәче яңгырда йөри, һәм җәй, ә төн.",
    "Mongolian": "Бяцхан муур шөнийн бороон дунд гүйж байна үү.",
    "Tajik": "Гурбаи хурд дар борони шаб меравад, ҷаҳон ва ғор, қишлоқ, ӯ.",
    "Greek": "Μια μικρή γάτα περπατά στη βροχή, ΐ και ΰ, ξανά.",
    "Greek, ancient": "Μῆνιν ἄειδε θεὰ Πηληϊάδεω Ἀχιλῆος",
    "Armenian": "Փոքրիկ կատուն քայլում է անձրևի տակ։",
    "Hebrew": "חתול קטן הולך בגשם בלילה, ליד הים.",
    "Hebrew, pointed": "בְּרֵאשִׁית בָּרָא אֱלֹהִים אֵת הַשָּׁמַיִם",
    "Yiddish": "אַ קליין קעצל גייט אין רעגן, װײַס און ייִדיש.",
    "Arabic": "قطة صغيرة تمشي تحت المطر، في الليل؟",
    "Arabic, vowelled": "بِسْمِ ٱللَّٰهِ ٱلرَّحْمَٰنِ ٱلرَّحِيمِ",
    "Persian": "گربهٔ کوچک در باران شب می‌دود، ژاله و پل.",
    "Urdu": "ایک چھوٹی بلی رات کی بارش میں چل رہی ہے۔ ٹھنڈا ڈبہ پڑا۔",
    "Pashto": "یوه کوچنۍ پیشو په باران کې ځي، ښکلې ډېره.",
    "Kurdish": "پشیلەیەکی بچووک لە باراندا ڕادەکات، گوڵ و ڤین.",
    "Uyghur": "كىچىك مۈشۈك يامغۇردا مېڭىۋاتىدۇ، ئۆي.",
    "Sindhi": "ننڍي ٻلي مينهن ۾ هلي رهي آهي، ڄڻ ڀلي.",
    "Dhivehi": "ކުޑަ ބުޅަލެއް ވާރޭގައި ދުވަނީ",
    "N'Ko": "ߒߞߏ ߞߊ߲ ߠߎ߬",
    "Thai": "แมวตัวเล็กเดินกลางสายฝนยามค่ำคืน",
    "Lao": "ແມວນ້ອຍຍ່າງໃນຝົນ",
    "Khmer": "ឆ្មាតូចដើរក្នុងភ្លៀង",
    "Burmese": "ကြောင်လေးမိုးထဲမှာလမ်းလျှောက်နေသည်",
    "Hindi": "एक छोटी बिल्ली रात की बारिश में चल रही है।",
    "Bengali": "একটি ছোট বিড়াল বৃষ্টিতে হাঁটছে।",
    "Tamil": "ஒரு சிறிய பூனை மழையில் நடக்கிறது.",
    "Georgian": "პატარა კატა წვიმაში მიდის.",
    "Amharic": "ትንሽ ድመት በዝናብ ውስጥ ትሄዳለች።",
    "Japanese": "雨の夜、小さな猫がネオンの街を歩いている。",
    "Korean": "작은 고양이가 비 오는 밤거리를 걷는다.",
    "Chinese": "一只小猫走在霓虹雨夜里，镜头慢慢推近。",
    "Chinese, traditional": "一隻小貓走在霓虹雨夜裡，鏡頭慢慢推近。",
    "Chinese with Latin": "T恤上的café和µm、α波、5×5、25°C",
    "Emoji": "a cat 🐱 in the rain ☔️ 👩‍👩‍👧 🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
    "Signs": "± 5 °C · £20 – “quoted” « déjà » … ½ §3 ©",
    "Signs alone": "½ © · ×",
    "Formula": "Δx ≤ λ/2, π·r², x̂ + ŷ, 10 µm, Ω-loop",
}

DISGUISED = """
一只猫 学习 一直 小说 没 猫 茅 每 没猫 毛 一 盲 枚 忙 莫 学校 小猫 猫没 越野 液态 一瓶水 十一 沙漠
""".split()

CHINESE = """
一只纸船漂过池塘
夕阳下的渔船缓缓驶过港口，电影感镜头
雨夜霓虹街道，女孩撑伞走过
老人在公园里下棋，镜头缓慢推进
小猫走在雨夜里
红色跑车飞驰在沙漠公路上，航拍视角，尘土飞扬
樱花飘落，少女回头微笑，浅景深
赛博朋克城市夜景，飞行汽车穿梭于高楼之间
宇航员在火星表面行走，远处是蓝色日落
厨师把热油浇在辣椒上，特写慢动作
金毛犬在草地上追逐蝴蝶
海浪拍打礁石，黄昏
古风仙侠，白衣剑客立于竹林，衣袂飘飘
产品展示：一瓶香水在水面上旋转，光影流动
卡通风格的小熊在森林里采蘑菇
无人机穿越峡谷，云雾缭绕
城市延时摄影，车流如织
婴儿第一次学走路，温馨家庭
蝴蝶停在花瓣上，露珠闪烁
机器人弹钢琴，暖色灯光
贵妃醉酒，京剧舞台
澳大利亚袋鼠跳跃
备注：港口场景
喆喆和玥玥在外滩散步，蝴蝶停在花瓣上
""".split("\n")[1:-1]

UNCHINESE = {
    "big5": """
一隻貓在屋頂上跳舞
夕陽下的漁船緩緩駛過港口，電影感鏡頭
雨夜霓虹街道，女孩撐傘走過
老人在公園裡下棋，鏡頭緩慢推進
小貓走在雨夜裡
一隻貓
紅色跑車飛馳在沙漠公路上，航拍視角，塵土飛揚
櫻花飄落，少女回頭微笑，淺景深
賽博龐克城市夜景，飛行汽車穿梭於高樓之間
太空人在火星表面行走，遠處是藍色日落
廚師把熱油澆在辣椒上，特寫慢動作
黃金獵犬在草地上追逐蝴蝶
海浪拍打礁石，黃昏
古風仙俠，白衣劍客立於竹林，衣袂飄飄
""".split("\n")[1:-1],
    "cp932": """
屋根の上の猫が歌う
桜の花びらが風に舞う、スローモーション
夜の東京を走る電車
雨の中、傘をさした少女が歩く
子猫がボールで遊ぶ
富士山の日の出、タイムラプス
サイバーパンクの街並み
海辺で花火を見る家族
ロボットがピアノを弾く
寿司を握る職人の手元、クローズアップ
紅葉の京都、ドローン撮影
ｶﾒﾗが寄る
未来都市
侍が竹林で刀を抜く
""".split("\n")[1:-1],
    "cp949": """
지붕 위의 고양이
비 오는 거리를 걷는 소녀, 시네마틱
고양이
서울의 밤, 네온 불빛
벚꽃이 떨어지는 공원
바다 위로 해가 뜬다, 드론 촬영
로봇이 피아노를 친다
눈 내리는 한옥 마을
아이가 풍선을 들고 달린다
우주비행사가 화성을 걷는다
비
폭포
김치찌개가 끓는다, 클로즈업
강아지가 잔디밭에서 뛰논다
""".split("\n")[1:-1],
    "cp1251": """
Маленькая кошка идёт под дождём; съёмка с крыши
море
кот
закат над морем
город ночью
Девочка с зонтом идёт по улице
снег
робот играет на рояле
лес
Красная машина едет по пустыне
""".split("\n")[1:-1],
    "cp1252": """
Où est le garçon ? Déjà vu, à l'été près du cœur naïf
été
Über den Dächern läuft eine süße Katze
¿Qué pasó mañana? Un pingüino bailó
A avó não põe maçãs às três; é uma canção
ações
coração
ÀÉÈ
größe
MÜLLSTRAßE
créée
blåbærsyltetøy på øde
naïveté
""".split("\n")[1:-1],
}
"""Prompts by an encoding that they are often written in, and of which much can be read as GB18030."""
