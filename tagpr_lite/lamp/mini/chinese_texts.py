"""LaMP_4 to LaMP_7 and shop_reviews in Chinese (our extension): the same kinds of rules on Chinese texts.

ROUGE counts characters here, so the forms differ in their characters. Distinct texts: about 130,000 articles,
276,000 abstracts, 43,000 neutral tweets, millions of e-mails, over a million lists of impressions.
"""
from __future__ import annotations

import itertools
import random

from .posts import impressions
from .text import in_forms, pick

# ---------------------------------------------------------------- LaMP_4

WHO = ("市图书馆", "海港博物馆", "乡村小学", "街角面包店", "足球俱乐部", "老剧院", "中心医院", "公交公司",
       "公共泳池", "农贸市场", "夜班列车", "动物收容所")
DOES = (("启用", "新楼"), ("下调", "票价"), ("新招", "四十名员工"), ("失去", "主要赞助商"),
        ("计划", "延长开放时间"), ("修补", "漏水的屋顶"), ("荣获", "全国大奖"), ("禁用", "塑料杯"),
        ("推迟", "春季活动"), ("购入", "电动汽车"))
WHERE = ("成都", "青岛", "厦门", "长沙", "昆明", "西安", "大连", "苏州", "兰州", "桂林")
WHEN = ("周一", "四月", "本周末", "明年夏天", "周五", "十月")
FILLER = ("居民盼望已久。", "发言人没有透露更多细节。", "投票结果十分接近。", "费用由地区分担。",
          "来访者表示欢迎。", "也有人表示怀疑。")
ARTICLES = ("{where}{who}{when}{does}{what}。{filler}", "{when}，{where}的{who}{does}{what}。{filler}",
            "{where}传来消息：{who}{when}{does}{what}。{filler}")
HEADLINES = (
    "{where}：{what}",
    "大家为什么都在谈论{where}的{who}？",
    "快讯 {when}{who}{does}{what}",
    "{when}终于等到{what}啦！",
    "{where}{who}新鲜事",
    "有了{what}这件事，{where}会有哪些变化",
)


def article(rng: random.Random) -> tuple[str, dict[str, str]]:
    facts = pick(rng, who=WHO, where=WHERE, when=WHEN, filler=FILLER)
    facts |= zip(("does", "what"), rng.choice(DOES))
    return rng.choice(ARTICLES).format(**facts), facts


# ---------------------------------------------------------------- LaMP_5

NAME = ("红隼", "旱獭", "苍鹭", "水獭", "猞猁", "海鹦", "羱羊", "壁虎", "金鸻", "蜜獾", "貘", "鹪鹩")
METHOD = ("稀疏注意力", "对比预训练", "树搜索", "主动采样", "低秩适配", "能量模型", "规则归纳", "核平均",
          "课程蒸馏", "隐式规划", "噪声注入", "原型匹配")
PROBLEM = ("作物病害诊断", "蛋白质折叠", "交通流预测", "法律检索", "手写识别", "洪水预警", "音乐标注",
           "桥梁检测", "语言辅导", "电价估计", "鸟类计数", "代码修复")
PLACE = ("乡村诊所", "城市传感器", "博物馆档案", "学校课堂", "卫星照片", "法院卷宗", "河道监测站", "电话录音",
         "工厂车间", "航海日志")
FINDING = ("少量标签就够了", "简单特征更胜一筹", "错误减半", "旧数据会误导人", "规模并不重要",
           "人的反馈很有用", "罕见情形起决定作用", "训练可以提前结束")
SUMMARY = ("本文提出{name}系统，把{method}用于{problem}。在{place}上的实验表明，{finding}。",
           "{place}中的{problem}仍然困难。我们的{name}采用{method}，结果表明{finding}。")
TITLES = (
    "{name}：面向{problem}的{method}",
    "{place}里的{method}值得信赖吗？",
    "用{method}重新思考{problem}",
    "走向可靠的{problem}：以{place}为例",
    "基于{method}实现{problem}",
    "{name}走进{place}",
    "{finding}：来自{place}的证据",
    "{place}中{method}的实证研究",
)


def abstract(rng: random.Random) -> tuple[str, dict[str, str]]:
    facts = pick(rng, name=NAME, method=METHOD, problem=PROBLEM, place=PLACE, finding=FINDING)
    return rng.choice(SUMMARY).format(**facts), facts


# ---------------------------------------------------------------- LaMP_6

PEOPLE = ("李娜", "王磊", "陈晨", "赵敏", "刘洋", "孙悦", "周涛", "吴静", "郑凯", "冯雪", "何平", "林岚",
          "高远", "罗兰", "宋佳", "唐宁")
TEAM = ("财务", "法务", "设计", "销售", "客服", "研发", "物流", "市场")
THING = ("预算", "合同", "幻灯片", "发票", "日程", "报告", "问卷", "宣传册", "会议记录", "预测表", "议程",
         "收据", "海报", "手册", "通讯稿", "路线图", "清单", "目录", "备忘录", "时刻表", "对账单", "提案",
         "摘要", "讲义")
ACTION = ("核对", "发送", "更新", "审批", "打印", "翻译", "签署", "精简")
PROJECT = ("猎户座", "海港", "枫叶", "三角洲", "灯塔", "雨云", "远山", "钴蓝", "垂柳", "飞隼")
DUE = ("周一", "周二", "周三", "周四", "周五", "今晚", "中午", "月底")
MAILS = ("{to}你好，能否在{due}前{action}{project}项目的{thing}？{team}部正在等。{sender}",
         "{to}：{team}部又在忙{project}项目，请在{due}前{action}{thing}。谢谢，{sender}",
         "{to}，提醒一下{project}项目：{team}部请你在{due}前{action}{thing}。祝好，{sender}")
MAIL_SUBJECTS = (
    "【{team}】{project}{thing}",
    "回复：回复：{project}致{team}部的来信",
    "{due}截止：{action}{thing}",
    "{thing}",
    "请{action}{project}项目的{thing}",
    "{to}，{sender}找你",
    "{team}部就{project}有个小问题",
    "紧急！务必赶在{due}前{action}",
)


def email(rng: random.Random) -> tuple[str, dict[str, str]]:
    to, sender = rng.sample(PEOPLE, 2)
    facts = pick(rng, team=TEAM, thing=THING, action=ACTION, project=PROJECT, due=DUE)
    facts |= {"to": to, "sender": sender}
    return rng.choice(MAILS).format(**facts), facts


# ---------------------------------------------------------------- LaMP_7

GADGET = ("公交车", "电梯", "打印机", "咖啡机", "无线网", "笔记本", "暖气", "洗碗机", "手机", "小汽车",
          "洗衣机", "投影仪", "自行车", "烤箱", "门铃")
EVENT = (  # neutral, brief, slang, big
    ("不能用了", "坏了", "直接躺平", "彻底罢工"),
    ("又能用了", "好了", "原地复活", "终于浴火重生"),
    ("发出怪声", "很吵", "在那儿瞎叫唤", "嚎个没完没了"),
    ("需要修理", "待修", "求放过", "正在呼叫紧急救援"),
    ("换了新的", "换新", "喜提升级", "迎来闪闪发光的接班者"),
    ("比平时慢", "很慢", "慢悠悠摸鱼", "慢得堪比蜗牛"),
    ("现在免费了", "免费", "白嫖成功", "再也不掏空钱包"),
    ("被偷了", "丢了", "被人顺走", "凭空消失无影无踪"),
)
MOMENT = ("今天早上", "午饭时", "开完会", "早饭前", "昨天夜里", "回家路上", "下雨的时候", "周末前夕",
          "在学校", "比赛中途")
DID = ("走路回家", "给姐姐打电话", "煮了一锅汤", "读了一本书", "出门跑步", "赖床不起", "烤了面包",
       "错过了新闻", "学会了抛球", "写了一首诗", "清理了冰箱", "点了披萨")
TWEETS = ("{moment}，{gadget}{event}，于是我{did}。", "我{moment}{did}，因为{gadget}{event}。",
          "因为{gadget}{event}，{moment}我{did}。")
OPENERS = ("说句掏心窝的话，", "家人们谁懂啊，", "本台突发快讯：")
REGISTERS = ("{moment}{gadget}{brief}", "{gadget}{slang}，我直接就{did}了哈哈",
             "天哪{gadget}{big}！！猜谁{did}")
CLOSERS = ("。#日常记录 #打工日记", "，求求快来救救我吧", "，不过倒也没啥好后悔")
TWEET_FORMS = tuple("".join(habits) for habits in itertools.product(OPENERS, REGISTERS, CLOSERS))


def tweet(rng: random.Random) -> tuple[str, dict[str, str]]:
    facts = pick(rng, gadget=GADGET, moment=MOMENT, did=DID)
    facts |= zip(("event", "brief", "slang", "big"), rng.choice(EVENT))
    return rng.choice(TWEETS).format(**facts), facts


# ---------------------------------------------------------------- shop_reviews

PRAISE = ("结实", "好清洗", "安静", "送货快", "价格公道", "颜色好看", "轻便", "握感舒服", "说明书清楚",
          "电池耐用", "面料柔软", "包装精美", "省地方", "开箱即用", "气味清香", "音质不错")
COMPLAINT = ("送货慢", "盖子松", "太吵", "容易刮花", "太重", "电线短", "塑料味重", "难打开", "少了螺丝",
             "颜色暗淡", "底脚不稳", "电池不行", "说明书混乱", "尺码偏小", "卖家无礼", "价格偏高")
VERDICTS = (  # one a voice: verdicts for 1 to 5 stars, what leads to the impressions, how the review ends
    (("再也不买", "不合我意", "凑合能用", "买得挺值", "爱不释手"),
     "随手记", "一个挑剔的买家敬上"),
    (("孩子们都讨厌", "全家都不太满意", "我们家还能接受", "大家伙儿都喜欢", "一家老小赞不绝口"),
     "在家里我们觉得", "来自厨房餐桌的问候"),
    (("各项测试不合格", "低于标称指标", "达到最低要求", "工艺可靠", "满分通过"),
     "实测结果", "历时两周测试完毕"),
)
MENTIONS = ("{all}", "主要是{first}", "可惜{complaints}")
ORDERS = ("{{verdict{v}}}。{{lead{v}}}：{mention}。{{end{v}}}。",
          "{{lead{v}}}：{mention}。{{end{v}}}。总之{{verdict{v}}}。")
REVIEW_FORMS = tuple(order.format(v=v, mention=mention)
                     for order, mention, v in itertools.product(ORDERS, MENTIONS, range(len(VERDICTS))))


def purchase(rng: random.Random) -> tuple[str, dict[str, str]]:
    stars, listed, complaints = impressions(rng, PRAISE, COMPLAINT)
    facts = {"all": "、".join(listed), "first": listed[0], "complaints": "、".join(complaints)}
    for voice, (verdicts, lead, end) in enumerate(VERDICTS):
        facts[f"verdict{voice}"] = verdicts[stars - 1]
        facts[f"lead{voice}"] = lead
        facts[f"end{voice}"] = end
    return f"评分：{stars} 印象：{'、'.join(listed)}", facts


WRITERS = {
    "LaMP_4_zh": in_forms(article, HEADLINES),
    "LaMP_5_zh": in_forms(abstract, TITLES),
    "LaMP_6_zh": in_forms(email, MAIL_SUBJECTS),
    "LaMP_7_zh": in_forms(tweet, TWEET_FORMS, bare=True),
    "shop_reviews_zh": in_forms(purchase, REVIEW_FORMS),
}
