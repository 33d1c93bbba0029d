"""Makes the sample month: results, the bill of December 2024 in three forms, and the provider's own list.

    python3 sample-data/month/make.py

Everything is made up. The same bytes come out each time; README.md beside this file works the totals out by hand.
No package is needed.
"""

import io
import json
import pathlib
import zipfile
from datetime import datetime, timedelta, timezone
from decimal import Decimal

HERE = pathlib.Path(__file__).resolve().parent
BEIJING = timezone(timedelta(hours=8))
UIN = "100012345678"
DAYS = [f"2024-12-{d:02d}" for d in range(1, 32)]

WECHAT = "增强版人脸核身（权威库）-微信"
APP = "增强版人脸核身（权威库）-App"
H5 = "增强版人脸核身（自传照片）-浮层 H5"
BASIC = "基础版人脸核身（权威库）"
EID = "E证通（权威库）"
INTENTION = "意愿核身（权威库）"
# A sub-product of which the catalogue of billing tags knows nothing.
CARRIER = "手机号信息核验(三要素)-移动"

# Contract prices; App has a discount that leaves eight places.
PRICE = {WECHAT: "1.2", APP: "1.13333333", H5: "0.3", BASIC: "1", EID: "1.5", INTENTION: "1.5", CARRIER: "1.3"}
LIST_PRICE = {**PRICE, APP: "1.2"}
CHANNEL = {WECHAT: "wx_mini", APP: "app", H5: "h5", EID: "eid", INTENTION: "intention"}
RULE = {"wx_mini": "5", "app": "7", "h5": "9", "eid": "11", "intention": "13", "kiosk": "15"}


def ms(day, clock):
    return int(datetime.fromisoformat(f"{day}T{clock}+08:00").timestamp() * 1000)


def seq(day, channel, number):
    """Says where it belongs: month and day, channel, number."""
    place = list(RULE).index(channel) + 1
    return f"2024{day[5:7]}{day[8:]}-{place:04d}-4000-8000-{number:012d}"


class Month:
    def __init__(self):
        self.lines = {day: [] for day in DAYS}  # NDJSON lines by day of the pull
        self.wechat = []  # the provider's list
        self.again = {}  # NDJSON lines of objects of their own: results that were pulled once more

    def result(self, day, channel, attempts, *, lib="权威库", final=True, pulled_after_min=130, err=0, intention=False):
        """One result: attempts of (number, clock, charge, errcode)."""
        details = []
        for number, clock, charge, code in attempts:
            detail = {
                "ReqTime": str(ms(day, clock)), "Seq": seq(day, channel, number), "Idcard": "440111111111111111",
                "Name": "张三", "Sim": "95.51" if code == 0 else "26.52", "IsNeedCharge": charge, "Errcode": code,
                "Errmsg": "成功" if code == 0 else "未通过", "Livestatus": 0, "Livemsg": "成功", "Comparestatus": code,
                "Comparemsg": "成功" if code == 0 else "未通过", "CompareLibType": lib, "LivenessMode": 4,
            }
            details.append(detail)
        created = ms(day, attempts[0][1]) - 60_000
        token = f"{channel}-{day}-{attempts[0][0]:04d}"
        record = {
            "biz_token": token, "rule_id": RULE[channel], "channel": channel, "created_at": created,
            "fetched_at": created + pulled_after_min * 60_000,
            "result": {"Response": {
                "Text": {"ErrCode": err, "ErrMsg": "成功" if err == 0 else "未通过", "LivenessDetail": details},
                "IsVerifyIntention": intention, "RequestId": f"req-{token}-{pulled_after_min}",
            }},
        }
        self.lines[day].append(json.dumps(record, ensure_ascii=False, separators=(",", ":")))


def results():
    month = Month()
    for day in DAYS:
        # Each day: WeChat 3 charged and 1 free, App 2 charged, H5 1 charged.
        month.result(day, "wx_mini", [(1, "09:00:00", True, 2016), (2, "09:01:00", True, 0)])
        month.result(day, "wx_mini", [(3, "14:30:00", True, 0)])
        month.result(day, "wx_mini", [(4, "18:00:00", False, 1004)], err=1004)
        month.result(day, "app", [(1, "10:00:00", True, 0)])
        month.result(day, "app", [(2, "20:15:00", True, 2006)], err=2006)
        month.result(day, "h5", [(1, "11:11:11", True, 0)], lib="业务方自有库")
    # 2 December: the first result is pulled twice. A Seq counts once.
    month.lines["2024-12-02"].append(month.lines["2024-12-02"][0].replace("-130", "-180"))
    # 3 December: the provider charges attempt 4, the result said it is free.
    # 4 December: attempt 5 is charged in the result; bill and list do not have it.
    month.result("2024-12-04", "wx_mini", [(5, "16:00:00", True, 0)])
    # 5 December: an attempt two seconds before midnight, which the bill has on the 6th.
    month.result("2024-12-05", "app", [(3, "23:59:58", True, 0)])
    # 7 December: the same in WeChat, where the list says so by Seq.
    month.result("2024-12-07", "wx_mini", [(5, "23:59:59", True, 0)])
    # 9 December: the flag is null; the bill charges.
    month.result("2024-12-09", "app", [(3, "12:00:00", None, 0)])
    # 10 December: pulled ten minutes after its token was made; the user tried again, and that attempt is on the bill.
    month.result("2024-12-10", "app", [(3, "12:00:00", False, 1001)], err=1001, pulled_after_min=10)
    # 11 December: a result that was cut off on its way to the store; the bill has its attempt.
    month.result("2024-12-11", "h5", [(2, "12:00:00", True, 0)], lib="业务方自有库")
    month.lines["2024-12-11"][-1] = month.lines["2024-12-11"][-1][:300]
    # 12 December: the bill has one H5 attempt of which we know nothing.
    # 13 December: the bill has two attempts of the basic edition, we have none.
    # 14 December: an E证通 attempt, and no line.
    month.result("2024-12-14", "eid", [(1, "15:00:00", True, 0)])
    # 15 December: three attempts of 意愿核身; a package covers them and the bill has no line.
    month.result("2024-12-15", "intention", [(1, "15:00:00", True, 0), (2, "15:01:00", True, 2016), (3, "15:02:00", True, 0)], intention=True)
    # 16 December: a channel that no route knows.
    month.result("2024-12-16", "kiosk", [(1, "08:00:00", True, 0)])
    # 18 December: against the published charge rules: 1003 is free there, 2006 is charged.
    month.result("2024-12-18", "wx_mini", [(5, "08:00:00", True, 1003)], err=1003)
    month.result("2024-12-18", "wx_mini", [(6, "08:10:00", False, 2006)], err=2006)
    # 19 December: the provider has a WeChat attempt that we never pulled.
    # 22 December: the bill has one H5 call too many, and gives it back.
    # 23 December: the second App result came twice, the second time in an object of its own; the bill counts both.
    month.again["2024-12-23"] = [month.lines["2024-12-23"][4].replace("-130", "-180").replace(
        f'"fetched_at":{ms("2024-12-23", "20:14:00") + 130 * 60_000}', f'"fetched_at":{ms("2024-12-23", "20:14:00") + 180 * 60_000}')]
    # 24 December: the bill asks 0.35 for the H5 call.
    return month


def line(day, tag, calls, *, deducted=0, action=("postpay_deduct_d", "按量计费日结"), cost=None, instance="-", begin=None, end=None):
    billed = calls - deducted
    price = PRICE.get(tag, "0")
    cost = Decimal(price) * billed if cost is None else Decimal(cost)
    next_day = (datetime.fromisoformat(day) + timedelta(days=1)).strftime("%Y-%m-%d")
    return {
        "day": day, "tag": tag, "calls": calls, "deducted": deducted, "billed": billed, "price": price,
        "list_price": LIST_PRICE.get(tag, "0"), "cost": f"{cost:.8f}", "action": action, "instance": instance,
        "begin": begin or f"{day} 00:00:00", "end": end or f"{day} 23:59:59", "paid": f"{next_day} 09:12:3{len(tag) % 10}",
        "product": ("p_ai_image_huiyan", "人脸核身·云智慧眼"),
    }


def bill():
    lines = []
    # What stands on the bill besides 3, 2 and 1 calls a day. The 31st is not out yet.
    more = {
        ("2024-12-03", WECHAT): 1, ("2024-12-06", APP): 1, ("2024-12-08", WECHAT): 1,
        ("2024-12-09", APP): 1, ("2024-12-10", APP): 1, ("2024-12-11", H5): 1, ("2024-12-12", H5): 1, ("2024-12-18", WECHAT): 1,
        ("2024-12-19", WECHAT): 1, ("2024-12-22", H5): 1, ("2024-12-23", APP): 1,
    }
    for day in DAYS[:-1]:
        for tag, usual in ((WECHAT, 3), (APP, 2), (H5, 1)):
            lines.append(line(day, tag, usual + more.get((day, tag), 0)))
        # Half of App on the 20th is covered by a package of 1: bought on the 20th, it counts from 00:00.
        if day == "2024-12-20":
            lines[-2] = line(day, APP, 2, deducted=1)
        if day == "2024-12-13":
            lines.append(line(day, BASIC, 2))
        if day == "2024-12-16":
            lines.append(line(day, CARRIER, 4))
        if day == "2024-12-17":
            # An adjustment gives the price of one App call back.
            lines.append(line(day, APP, 0, action=("recon_increase", "调账补偿"), cost="-1.13333333"))
        if day == "2024-12-22":
            # No code of it is known.
            lines.append(line(day, H5, -1, action=("", "按量计费冲正")))
        if day == "2024-12-24":
            lines[-1].update(price="0.35", cost="0.35000000")
    lines.append(line("2024-12-01", INTENTION, 0, action=("prepay_purchase", "包年包月新购"), cost="1450", instance="资源包",
                      end="2025-11-30 23:59:59"))
    lines.append(line("2024-12-20", APP, 0, action=("prepay_purchase", "包年包月新购"), cost="1", instance="资源包",
                      end="2025-12-19 23:59:59"))
    # What was deducted in fen, day by day, is 0.08000021 more than the App lines (README.md). And a line of another product.
    lines.append(line("2024-12-30", APP, 0, action=("billVirtualId", "月度计费精度差异"), cost="-0.08000021"))
    other = line("2024-12-02", "标准存储容量", 5, cost="0.59000000")
    other["product"] = ("p_cos", "对象存储 COS")
    lines.insert(3, other)
    return lines


HEADERS = ("支付者 UIN,使用者 UIN,操作者 UIN,产品名称,计费模式,项目名称,地域,可用区,资源 ID,实例名称,实例类型,子产品名称,交易类型,订单 ID,交易 ID,"
           "扣费时间,开始使用时间,结束使用时间,组件类型,组件名称,组件刊例价,组件单价,组件价格单位,组件原始用量,抵扣用量(含资源包),组件用量,组件用量单位,"
           "使用时长,时长单位,组件原价(元),折扣率,优惠后总价(元),优惠券支出(元),赠送账户支出(元),分成金账户支出(元),现金账户支出(元),账单归属日").split(",")


def csv_row(number, l):
    prepay = l["action"][0].startswith("prepay")
    original = Decimal(l["list_price"]) * l["billed"]
    cells = [
        UIN, UIN, UIN, l["product"][1], "包年包月" if prepay else "按量计费", "默认项目", "华南地区（广州）", "其他", f"huiyan-1251006373-{l['day'].replace('-', '')}",
        "-", l["instance"], l["tag"], l["action"][1], f"\t20241231{number:012d}", f"\t{9000000000 + number}",
        l["paid"], l["begin"], l["end"], l["tag"], l["tag"], l["list_price"], l["price"], "元/次",
        str(l["calls"]), str(l["deducted"]), str(l["billed"]), "次", "1", "天", f"{original:.8f}", "1", l["cost"], "0", "-", "0", l["cost"],
        l["day"],
    ]
    return ",".join(f'"{c}"' for c in cells)


def csv_text(numbered):
    return "\r\n".join([",".join(HEADERS)] + [csv_row(n, l) for n, l in numbered]) + "\r\n"


def zipped(members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members:
            info = zipfile.ZipInfo(name, (2024, 12, 31, 9, 30, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, text)
    return out.getvalue()


def json_line(number, l):
    prepay = l["action"][0].startswith("prepay")
    code, name = l["product"]
    return {
        "BusinessCode": code, "BusinessCodeName": name, "ProductCode": "", "ProductCodeName": l["tag"],
        "PayModeName": "包年包月" if prepay else "按量计费", "ProjectName": "默认项目", "ProjectId": 0, "RegionName": "华南地区（广州）",
        "ResourceId": f"huiyan-1251006373-{l['day'].replace('-', '')}", "ActionType": l["action"][0], "ActionTypeName": l["action"][1],
        "OrderId": f"20241231{number:012d}", "BillId": str(9000000000 + number), "PayTime": l["paid"],
        "FeeBeginTime": l["begin"], "FeeEndTime": l["end"], "PayerUin": UIN, "OwnerUin": UIN, "OperateUin": UIN,
        "BillDay": f"{l['day']} 00:00:00", "BillMonth": "2024-12-01 00:00:00", "Id": f"{8000000000000000000 + number}",
        "ComponentSet": [{
            "ComponentCodeName": l["tag"], "ItemCodeName": l["tag"], "SinglePrice": l["list_price"], "ContractPrice": l["price"],
            "PriceUnit": "元/次", "RealTotalMeasure": str(l["calls"]), "DeductedMeasure": str(l["deducted"]), "UsedAmount": str(l["billed"]),
            "UsedAmountUnit": "次", "Cost": f"{Decimal(l['list_price']) * l['billed']:.8f}", "RealCost": l["cost"], "VoucherPayAmount": "0",
            "IncentivePayAmount": "-", "TransferPayAmount": "0", "CashPayAmount": l["cost"], "InstanceType": l["instance"],
        }],
    }


def provider_list():
    """GetWeChatBillDetails: the WeChat attempts of each day, as the provider has them."""
    pages = []
    for day in DAYS[:-1]:
        tokens = {}
        for number, clock, charge in ((1, "09:00:00", True), (2, "09:01:00", True), (3, "14:30:00", True), (4, "18:00:00", False)):
            token = {1: 1, 2: 1, 3: 3, 4: 4}[number]
            if (day, number) == ("2024-12-03", 4):
                charge = True
            tokens.setdefault(token, []).append((ms(day, clock), seq(day, "wx_mini", number), charge))
        if day == "2024-12-08":
            tokens[5] = [(ms(day, "00:00:01"), seq("2024-12-07", "wx_mini", 5), True)]
        if day == "2024-12-19":
            tokens[5] = [(ms(day, "19:19:19"), seq(day, "wx_mini", 5), True)]
        if day == "2024-12-18":
            tokens[5] = [(ms(day, "08:00:00"), seq(day, "wx_mini", 5), True)]
            tokens[6] = [(ms(day, "08:10:00"), seq(day, "wx_mini", 6), False)]
        details = [{
            "BizToken": f"wx_mini-{day}-{token:04d}", "ChargeCount": sum(c for _, _, c in attempts), "RuleId": "5",
            "ChargeDetails": [{
                "ReqTime": str(time), "Seq": s, "IdCard": "440***********1111", "Idcard": "", "Name": "张*", "Sim": "95.51", "IsNeedCharge": charge,
                "ChargeType": "核身", "ErrorCode": "0", "ErrorMessage": "成功",
            } for time, s, charge in attempts],
        } for token, attempts in sorted(tokens.items())]
        pages.append({"Response": {"HasNextPage": False, "NextCursor": 0, "WeChatBillDetails": details, "RequestId": f"list-{day}"}})
    return pages


def main():
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "bill").mkdir(exist_ok=True)
    month = results()
    for day, lines in month.lines.items():
        (HERE / "results" / f"dt={day}.ndjson").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for day, lines in month.again.items():
        (HERE / "results" / f"dt={day}-again.ndjson").write_text("\n".join(lines) + "\n", encoding="utf-8")
    numbered = list(enumerate(bill(), start=1))
    half = len(numbered) // 2
    # Delivered each day, cumulative: that of the 31st (all but the last day) replaces that of the 16th.
    early = [(n, l) for n, l in numbered if l["day"] <= "2024-12-15"]
    for date, members in (
        ("20241216", [("100012345678-20241216-bill_details.csv", csv_text(early))]),
        ("20241231", [("100012345678-20241231-bill_details_1.csv", csv_text(numbered[:half])),
                      ("100012345678-20241231-bill_details_2.csv", csv_text(numbered[half:]))]),
    ):
        (HERE / "bill" / f"{UIN}-{date}-by_used_time-bill_details.zip").write_bytes(
            zipped([(name, b"\xef\xbb\xbf" + text.encode()) for name, text in members]))
    # Downloaded by hand, as it came out of a spreadsheet program: GB18030.
    (HERE / "bill" / "detail.csv").write_bytes(csv_text(numbered).encode("gb18030"))
    pages = [numbered[:half], numbered[half:]]
    for page, rows in enumerate(pages, start=1):
        text = json.dumps({"Response": {"DetailSet": [json_line(n, l) for n, l in rows], "Total": len(numbered), "RequestId": f"page-{page}"}},
                          ensure_ascii=False, indent=1)
        (HERE / "bill" / f"describe-bill-detail-{page}.json").write_text(text + "\n", encoding="utf-8")
    pages = "\n".join(json.dumps(p, ensure_ascii=False, separators=(",", ":")) for p in provider_list())
    (HERE / "bill" / "wechat-bill-details.ndjson").write_text(pages + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
