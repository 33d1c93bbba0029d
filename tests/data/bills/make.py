"""Makes the files of this folder with Python's own codecs and zipfile, so that no code of ours has a part in them."""

import io
import pathlib
import zipfile

HERE = pathlib.Path(__file__).parent

HEADER = (
    "支付者UIN,使用者UIN,操作者UIN,产品名称,子产品名称,计费模式,项目名称,地域,实例类型,资源ID,交易类型,订单ID,交易ID,"
    "扣费时间,开始使用时间,结束使用时间,组件类型,组件名称,组件刊例价,组件单价,组件价格单位,组件原始用量,抵扣用量（含资源包）,"
    "组件用量,组件用量单位,使用时长,时长单位,组件原价(元),折扣率,优惠后总价（元）,优惠券支出(元),赠送账户支出(元),"
    "分成金账户支出(元),现金账户支出(元),备注属性,标签键:部门"
)


def line(**own):
    cells = {
        "支付者UIN": '"\t100001234567"',
        "使用者UIN": "'100001234567",
        "操作者UIN": '="100001234567"',
        "产品名称": "人脸核身·云智慧眼",
        "计费模式": "按量计费",
        "项目名称": "默认项目",
        "地域": "华南地区（广州）",
        "实例类型": "-",
        "交易类型": "按量计费日结",
        "订单ID": "-",
        "交易ID": '"\t20241102000000000001"',
        "扣费时间": "2024-11-02 09:30:00",
        "开始使用时间": "2024-11-01 00:00:00",
        "结束使用时间": "2024-11-01 23:59:59",
        "组件价格单位": "元/次",
        "组件用量单位": "次",
        "使用时长": "1",
        "时长单位": "日",
        "折扣率": "1.00000000",
        "备注属性": "-",
        "标签键:部门": "风控,𠮷田",
    }
    cells.update(own)
    quoted = {"标签键:部门"}
    return ",".join(f'"{cells.get(h, "")}"' if h in quoted else cells.get(h, "") for h in HEADER.split(","))


LINES = [
    line(
        子产品名称="E证通（权威库）",
        组件类型="E证通",
        组件名称="人脸核身·云智慧眼-E证通",
        **{"组件刊例价": "1.00000000", "组件单价": "1.00000000", "组件原始用量": '"1,234"', "组件用量": "1,234".replace(",", "")},
        **{"抵扣用量（含资源包）": "0", "组件原价(元)": "1234.00000000", "优惠后总价（元）": '"1,234.00000000"'},
        **{"优惠券支出(元)": "-", "赠送账户支出(元)": "0", "分成金账户支出(元)": "0", "现金账户支出(元)": "1234"},
    ),
    line(
        子产品名称="增强版人脸核身（权威库）-微信",
        组件类型="增强版",
        组件名称="权威库",
        **{"组件刊例价": "1.2", "组件单价": "0.96000001", "组件原始用量": "10", "抵扣用量（含资源包）": "4", "组件用量": "6"},
        **{"组件原价(元)": "7.2", "优惠后总价（元）": "5.76000006", "现金账户支出(元)": "5.76000006"},
    ),
    line(产品名称="对象存储 COS", 子产品名称="标准存储", 组件类型="存储", 组件名称="容量", **{"组件用量": "1", "优惠后总价（元）": "0.1"}),
    line(
        子产品名称="E证通（权威库）",
        计费模式="包年包月",
        实例类型="资源包",
        交易类型="包年包月退款",
        组件类型="资源包",
        组件名称="资源包",
        **{"组件用量": "1", "优惠后总价（元）": "-88.8", "现金账户支出(元)": "-88.8"},
    ),
]
TOTALS = "合计" + "," * (HEADER.count(",") - 6) + "1151.06000006,,,,,,"


def zipped(members, encrypted=False):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name, (2024, 12, 2, 3, 0, 0)), data, zipfile.ZIP_DEFLATED)
    data = bytearray(out.getvalue())
    if encrypted:
        # The flag is what a reader goes by: bit 0 of the general purpose flags, local and central.
        for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            data[data.index(mark) + at] |= 1
    return bytes(data)


text = "\r\n".join([HEADER, *LINES, TOTALS, ""])
(HERE / "l3_utf8.csv").write_bytes(text.encode("utf-8"))
(HERE / "l3_utf8_bom.csv").write_bytes(text.encode("utf-8-sig"))
(HERE / "l3_gb18030.csv").write_bytes(text.encode("gb18030"))
(HERE / "l3_utf16.csv").write_bytes(text.encode("utf-16"))
halves = ["\r\n".join([HEADER, *part, ""]) for part in (LINES[:2], LINES[2:])]
(HERE / "100001234567-202411-by_used_time-bill_details.zip").write_bytes(
    zipped([(f"bill_{i}.csv", half.encode("gb18030")) for i, half in enumerate(halves, 1)] + [("说明.txt", b"x")])
)
(HERE / "encrypted.zip").write_bytes(zipped([("bill.csv", text.encode("utf-8"))], encrypted=True))
