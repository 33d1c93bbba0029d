// The report of a reconciliation. Everything shown is made of the JSON in the page; texts go in as text, never as markup.
// Counts and amounts are added as BigInt; Numbers are for places on the screen only.
"use strict";
(() => {
const DATA = JSON.parse(document.getElementById("data").textContent);

// ---- words -------------------------------------------------------------------------------------------------------

const WORDS = {
  en: {
    title: "Bill reconciliation", overview: "Overview", charges: "Per day", heat: "Where it differs", money: "Packages and money",
    list: "Differences", seqsearch: "Search a Seq", join: "Per Seq", audit: "Charge rules", bill: "Bill files",
    theme_auto: "Theme: system", theme_light: "Theme: light", theme_dark: "Theme: dark", language: "中文", print: "Print",
    pipeline: "Pipeline", account: "Account", months: "Months", as_of: "As of", versions: "Table versions", none: "none",
    right: "The bill is right: all of {n:row} agree.", right_sub: "Every day and product has as many calls on the bill as in our records, and asks what is expected.",
    right_calls_sub: "Every day and product has as many calls on the bill as in our records. Money was not compared.", right_audit: "Charged against the published rules all the same: {n:attempt} (see the audit).",
    not_all: "The bill is not shown to be right: all of {n:row} agree, but not all of it could be compared.", yuan_of: "{y} yuan", gross_of: "{g} yuan without regard to sign",
    b_no_day: "Not compared: {n:line} of usage without a day", b_other_month: "Not compared: {n:line} of months that are not compared", b_pages_missing: "Not compared: {n:line} on pages that were not given", b_parts_missing: "Not given: {n:part} of the provider's list or of a bill", b_files_differ: "Contradicting: {n:line} on which files differ that should say the same",
    b_other_payer: "Money not compared: {n:line} of other payers", b_seqs_differ: "{n:Seq} on which the provider's list and ours differ",
    b_unknown_kind: "Not compared: {n:line} whose transaction is not known", b_rejected: "Not compared: {n:line} of the bill that could not be read",
    b_product_like_ours: "Not compared: {n:line} of products that may be ours", b_no_count: "Not compared: {n:line} without a whole number of calls",
    b_payments_disagree: "{n:line} whose payments do not add up to their cost",
    b_early_more: "{n:line} of days whose bill is not out yet, which already ask more than our records",
    b_not_held: "Set aside: {n:line} of billing tags that are not held here (reconcile.not_held)",
    b_unknown_unit: "{n:line} in units that are not known, counted as one call each",
    b_measures_disagree: "{n:line} of which usage minus deducted is not what is billed",
    b_rounding_too_large: "{n:rounding line} that is not what the lines of the bill make",
    b_package_not_named: "Not compared: {n:line} of packages that the pipeline file does not name", b_package: "{n:line} of packages, whose own prices are not checked", b_packages_differ: "{n:call} deducted otherwise than the packages of the pipeline file give",
    b_currency: "Money not compared in rows with {n:line} that are not in yuan", b_no_price: "Left out of the money: what has no price in the price book", b_price_book_currency: "Money not compared: the price book is not in yuan",
    unpriced_note: "Without a price: {tags} ({y} yuan on the bill).", bill_cost_unpriced: "Billed without a price, yuan",
    nothing: "Nothing to compare.", nothing_sub: "Neither our records nor the bill have anything for these months.",
    pending_only: "The bill is not out yet.", pending_only_sub: "None of the {n:row} can be compared so far.",
    differs: "The bill differs from our records{how}.", changed: "The bill was changed{how}.", how_more: "it counts {n:call} more", how_less: "it counts {n:call} fewer",
    how_both: "it counts {n:call} more in some rows and {m} fewer in others", how_same: "it counts as many calls as our records",
    money_more: "asks {y} yuan more than expected", money_less: "asks {y} yuan less than expected", money_same: "asks what is expected",
    and: ", and ", colon: ": ",
    tolerance: "Over the tolerance of {t} a row: {n} of {m:row}.", within: "No row is over the tolerance of {t} a row.", t_calls: "{n:call}", t_both: "{n:call} and {y} yuan",
    pending_note: "The bill of {n:row} is not out yet: left out of the difference.",
    provisional_note: "Amounts of a month that is not over are provisional: monthly tiers settle at its end.",
    next: "What to do next", ours_charged: "Ours charged", bill_calls: "Bill calls", difference: "Difference", rows: "Rows",
    rows_differ: "Rows that differ", net: "Net difference", expected_cost: "Expected, yuan", bill_cost: "Billed, yuan", cost_difference: "Difference, yuan",
    status: "Status", tag: "Billing tag", period: "Day", total: "In all", all: "All", all_differences: "All differences", all_rows: "All rows",
    charges_sub: "Bars: charged attempts of ours by billing tag. Black line: what the bill counts that day, before packages. Choose a day to filter the list.",
    chart_label: "Charges per day, ours against the bill", bill_line: "The bill", others: "other tags", ours: "Ours", monthly: "Settled monthly",
    heat_sub: "The bill's calls minus ours. Choose a cell to filter the list of differences; arrow keys move.",
    bill_less: "bill counts fewer", bill_more: "bill counts more", agrees: "agrees", not_compared: "not out yet, or covered by a package",
    money_sub: "Each call is taken from the free package first, then from paid packages; the rest is paid per call.",
    waterfall_label: "From all charged calls to what is paid per call", calls: "Calls", free_package: "Free package", paid_package: "Paid package",
    postpaid: "Postpaid", bill_deducted: "Bill: deducted", bill_billed: "Bill: billed", unit_price: "Unit price", provisional: "provisional",
    price_book: "Price book", bill_rounding: "Rounding lines of the bill", expected_rounding: "Rounding lines expected: exact minus deducted in fen", rounding_row: "Rounding (8 places to fen)", not_billed_note: "Of the amount expected, {y} yuan are not billed yet: they are in no difference.", packages: "Packages",
    package: "Package", kind: "Kind", free: "free", paid: "paid", size: "Size", bought_on: "Bought on", expires_on: "Expires on", refunded_on: "Given back on",
    used_before: "Used before", used: "Used in these months", left: "Left at their end", no_price_book: "No price book, or amounts that are not in yuan (see the warnings): only counts were compared. reconcile.prices in the pipeline file names one.",
    list_sub: "Choose a row to see why it differs and which attempts make the difference.", search_text: "Text or Seq",
    clear: "Clear filters", show: "Show", page_of: "{a}–{b} of {n}", previous: "Previous", following: "Next", details: "Details",
    no_match: "Nothing fits the filters.", no_differences: "No differences.", no_rows: "No rows.", no_bill: "No line of the bill was read for this product. Give the detail bill (L3, 明细账单) with --bill.",
    parts: "Why", no_parts: "No reason is recorded for this row.", no_parts_money: "The calls agree and the money does not, so no Seq makes this difference: compare prices and packages.", seqs_n: "{n:Seq}", seqs_cut: "{a} of {n:Seq} stand in this report; all of them are rows of liveness_detail of that day and billing tag.",
    copy: "Copy", copied: "Copied", copy_seqs: "Copy {n:Seq}", copy_command: "Copy command", explain: "Explain", show_more: "Show {n} more",
    explain_hint: "Where this attempt stands (object, record, byte), asked from where this report was made:", objects: "Objects", bill_lines: "Lines of the bill",
    attempts: "Attempts", charged: "Charged", unknown: "Unknown", deducted: "Deducted by packages", billed: "Billed",
    more_than: "There are more Seqs here than the difference: counts alone do not say which of them.",
    note_again: "These objects repeat Seqs that were there already, of whatever billing tag. A Seq counts once, so this makes no difference here: it is what a count of objects would have too many. Seqs below are those of this row that are known, from objects without anything new; of the others the load history keeps the number: look into the objects for them. `faceledger explain` says of a Seq which object its row was taken from.",
    note_maybe: "There are fewer than the rows of that time could take, and nothing says which billing tag they are of. Told with each of these rows, counted in none.",
    note_reject: "A record that was set aside has no billing tag: a possible reason, no proof. Listed are the Seqs that could be read of it; `faceledger rejects` says for each object what is wrong.",
    seqsearch_sub: "Finds every Seq that stands in this report: parts of differences, the join per Seq, findings of the charge rules.",
    seqsearch_label: "Seq, or the start of one", found: "{n} found", found_none: "This Seq does not stand in this report. That means it makes no difference that was found; `faceledger explain` finds any Seq.",
    found_more: "{n} found; the first {m} are shown.", where: "Where", where_part: "Difference", where_join: "Per Seq", where_audit: "Charge rules", what: "What",
    join_sub: "Ours against the provider's own list, Seq by Seq.", no_join: "No provider list per Seq was given. Give the pages of GetWeChatBillDetails with --bill to compare Seq by Seq.",
    join_groups: "Those that do not agree, by rule and hour of the Beijing day", rule: "Rule", hour: "Hour", no_rule: "(no rule)", cut: "{a} of {n} stand in this report; all of them stand in the table {t}.",
    our_day: "Our day", provider_day: "Provider's day", our_charge: "Ours", provider_charge: "Provider's", yes: "charged", no: "free", source: "Where ours stands",
    audit_sub: "The published charging codes held against IsNeedCharge of every attempt.", no_audit: "The published charge rules were not checked in this run.",
    checked: "Checked", charged_against: "Charged against the rule", free_against: "Free against the rule", no_table: "No published table", not_listed: "Code not in its table", flag_unknown: "Flag not known",
    overcharge: "At postpaid prices, yuan", overcharge_note: "The amounts are postpaid prices of the price book, before packages: a call that a package covered cost one call of it.", overcharge_unpriced: "Charged against the rule without a price in the price book: {n}, in no amount.", published: "Published rule", edition: "Edition", from: "From", code: "Code", is_need_charge: "IsNeedCharge", money_yuan: "Postpaid price, yuan", no_findings: "No contradiction with the published rules.",
    bill_sub: "What was read, and what could not be.", file: "File", encoding: "Encoding", lines: "Lines", other_products: "Other products", rejects: "Rejects",
    replaced_by: "Replaced by {f}", row: "Row", column: "Column", reason: "Reason", message: "What is wrong", no_files: "No file of a bill was given.", counts: "counts", line_count: "{n:line}",
    footer: "Made by faceledger. This file is complete in itself and asks nothing of any network. Amounts are exact to eight places.",
    print_cut: "The first {n} of {m} are printed.", filtered: "Filtered",
    s_matched: "Calls agree", money_differs: "Calls agree, money differs", s_provider_more: "Bill counts more", s_ours_more: "We count more", s_provider_only: "On the bill only", s_ours_only: "In our records only",
    s_pending: "Bill not out yet", s_covered_by_package: "Covered by a package", s_unmapped: "No billing tag", s_adjusted: "Adjusted",
    p_midnight: "Near midnight: balances with the neighbouring day", p_unknown_flag: "Charged or not is unknown", p_not_final: "Pulled before the result was final",
    p_duplicate: "The same Seq counted twice", p_reject: "Records of ours that were set aside", p_flag_differs: "Charged there and free here, or the other way",
    p_provider_only: "In the provider's list only", p_ours_only: "Not in the provider's list", p_unexplained: "Unexplained",
    q_agree: "Agree", q_flag_differs: "Charge differs", q_day_differs: "Day differs", q_ours_only: "Ours only", q_provider_only: "Provider only",
    n_bill: "Give the detail bill (L3, 明细账单) of these months with --bill.",
    n_product_like_ours: "Name the products that are ours in the pipeline file (reconcile.products; the warnings have the line to add).",
    n_package_not_named: "Name the packages that were bought or given back in the pipeline file ([[reconcile.package]]).",
    n_contradicts: "Ask the provider about the lines whose usage contradicts itself or is no count (the warnings name them).",
    n_rounding: "Ask the provider what the rounding lines (月度计费精度差异) are for: rounding makes less than a fen a line.",
    n_packages: "Compare the packages with [[reconcile.package]]: the calls agree, and the bill deducted another part of them than the packages of the pipeline file give.",
    n_no_day: "Look for the lines of usage without a day, or of another month, in the bill: they are in no row (give the bill of that month, too).",
    n_files: "Give one file of each bill, and of the provider's list: the later download, the detail bill without the pack.",
    n_pages: "Give all pages of DescribeBillDetail (Total says how many lines there are).",
    n_other_payer: "Compare account.uin with the payers (支付者 UIN) of the bill; amounts of others are not compared.",
    n_currency: "Give bill and price book in yuan (CNY) to have the money compared.",
    n_unknown_unit: "Say in the pipeline file how many calls the units are (reconcile.usage_units; the warnings have the line to add).",
    n_unknown_kind: "Say in the pipeline file what the transactions of unknown kind are (the warnings have the lines to add), then reconcile again.",
    n_unpriced: "Add prices of the tags without one to the price book, or correct their billing tag.",
    n_rejects: "Mend the bill files with rejects or download them anew: a line that was not read can be a difference.",
    n_unmapped: "Give what has no billing tag one: a route in the pipeline file for attempts, an alias for lines of the bill.",
    n_reject: "Mend the records that were set aside (faceledger rejects), then load them again (rejects --retry).",
    n_not_final: "Pull the results again that were not final, load them, and reconcile again.",
    n_unknown_flag: "Pull the results again whose IsNeedCharge is unknown.",
    n_midnight: "Nothing for what balances at midnight: the neighbouring day has the other side of it.",
    n_duplicate: "Send the Seqs that were counted twice to the provider: one Seq is one attempt and one charge.",
    n_ticket: "Look up the Seqs on which the lists differ (open the row, copy them; `faceledger explain` of one says where it stands, or that it was set aside): mend what is ours, send the others to the provider.",
    n_unexplained: "Ask the provider for its list per Seq of the days with an unexplained part (GetWeChatBillDetails for channels in WeChat), and give it with --bill.",
    n_listed: "Send the rows with an unexplained part and the provider's own list of these days to the provider: what its bill counts there is not what its list holds.",
    n_price: "Compare the unit prices on the bill with the contract: the calls agree there and the money does not.",
    n_provisional: "Reconcile again when the month is over: the calls agree, and the prices that its tiers reach are provisional until then.",
    n_adjusted: "Check the adjusted lines against the provider's notice of the adjustment.",
    n_audit: "Send the findings of the charge rules to the provider: charged though the published rules say free.",
    n_pending: "Reconcile again when the bill is out: a daily bill comes between 08:00 and 12:00 the next day.",
  },
  zh: {
    title: "账单核对", overview: "总览", charges: "每日用量", heat: "差异分布", money: "资源包与金额",
    list: "差异明细", seqsearch: "查找 Seq", join: "逐笔核对", audit: "计费规则", bill: "账单文件",
    theme_auto: "主题：跟随系统", theme_light: "主题：浅色", theme_dark: "主题：深色", language: "English", print: "打印",
    pipeline: "任务", account: "账号", months: "月份", as_of: "截至", versions: "数据表版本", none: "无",
    right: "账单正确：{n} 行全部一致。", right_sub: "每一天、每个产品，账单的调用次数都与我方记录相同，金额与预期一致。",
    right_calls_sub: "每一天、每个产品，账单的调用次数都与我方记录相同。金额未核对。", right_audit: "但有 {n} 次按公布规则不应计费（见核查）。",
    not_all: "不能确认账单正确：{n} 行全部一致，但未能全部核对。", yuan_of: "{y} 元", gross_of: "不计正负 {g} 元",
    b_no_day: "未核对：{n} 行用量没有日期", b_other_month: "未核对：{n} 行属于未核对的月份", b_pages_missing: "未核对：未提供的分页中有 {n} 行", b_parts_missing: "未提供：官方明细或账单的 {n} 个部分", b_files_differ: "自相矛盾：本应一致的文件有 {n} 行不一致",
    b_other_payer: "金额未核对：其他支付者的 {n} 行", b_seqs_differ: "服务商清单与我方有 {n} 个 Seq 不一致",
    b_unknown_kind: "未核对：{n} 行的交易类型未知", b_rejected: "未核对：账单中有 {n} 行无法读取",
    b_product_like_ours: "未核对：{n} 行的产品可能属于人脸核身", b_no_count: "未核对：{n} 行的用量不是整数次",
    b_payments_disagree: "{n} 行的各项支付之和不等于优惠后总价",
    b_early_more: "账单尚未出具的日期中，已有 {n} 行超出我方记录",
    b_not_held: "已搁置：{n} 行属于本任务不含结果的计费标签（reconcile.not_held）",
    b_unknown_unit: "{n} 行的用量单位未知，每单位按一次计",
    b_measures_disagree: "{n} 行自相矛盾：原始用量减抵扣用量不等于计费用量",
    b_rounding_too_large: "{n} 行精度差异与账单各行舍入的金额不符",
    b_package_not_named: "未核对：任务文件未列出的资源包，{n} 行", b_package: "资源包 {n} 行，其自身价格未核对", b_packages_differ: "抵扣次数与任务文件所列资源包不符：{n} 次",
    b_currency: "{n} 行不是人民币，所在行的金额未核对", b_no_price: "未参与金额核对：价目表中没有价格的部分", b_price_book_currency: "金额未核对：价目表不是人民币",
    unpriced_note: "没有价格：{tags}（账单金额 {y} 元）。", bill_cost_unpriced: "无价格的账单金额（元）",
    nothing: "没有可核对的数据。", nothing_sub: "这些月份我方记录和账单都没有数据。",
    pending_only: "账单尚未出账。", pending_only_sub: "{n} 行目前都无法核对。",
    differs: "账单与我方记录不一致{how}。", changed: "账单有调整{how}。", how_more: "账单多计 {n} 次", how_less: "账单少计 {n} 次",
    how_both: "账单在部分行多计 {n} 次，在其他行少计 {m} 次", how_same: "次数一致",
    money_more: "金额比预期多 {y} 元", money_less: "金额比预期少 {y} 元", money_same: "金额与预期一致",
    and: "，", colon: "：",
    tolerance: "{m} 行中有 {n} 行超出每行 {t} 的容差。", within: "没有任何一行超出每行 {t} 的容差。", t_calls: "{n} 次", t_both: "{n} 次、{y} 元",
    pending_note: "有 {n} 行的账单尚未出账，未计入差异。",
    provisional_note: "未结束月份的金额为暂估：月度阶梯在月末结算。",
    next: "下一步", ours_charged: "我方计费次数", bill_calls: "账单次数", difference: "差异", rows: "行数",
    rows_differ: "有差异的行", net: "净差异", expected_cost: "预期金额（元）", bill_cost: "账单金额（元）", cost_difference: "金额差异（元）",
    status: "状态", tag: "计费项", period: "日期", total: "合计", all: "全部", all_differences: "全部差异", all_rows: "全部行",
    charges_sub: "柱：我方计费次数，按计费项堆叠。黑线：账单当日次数（资源包抵扣前）。选择某一天可筛选明细。",
    chart_label: "每日计费次数：我方与账单对比", bill_line: "账单", others: "其他计费项", ours: "我方", monthly: "按月结算",
    heat_sub: "账单次数减我方次数。选择单元格可筛选差异明细；方向键可移动。",
    bill_less: "账单少计", bill_more: "账单多计", agrees: "一致", not_compared: "尚未出账，或由资源包抵扣",
    money_sub: "每次调用先抵扣免费资源包，再抵扣付费资源包，其余按量付费。",
    waterfall_label: "从全部计费调用到按量付费", calls: "调用次数", free_package: "免费资源包", paid_package: "付费资源包",
    postpaid: "按量付费", bill_deducted: "账单：抵扣", bill_billed: "账单：计费", unit_price: "单价", provisional: "暂估",
    price_book: "价目表", bill_rounding: "账单的月度计费精度差异行", expected_rounding: "预期精度差异：精确金额减按分扣款", rounding_row: "精度差异（8 位小数到分）", not_billed_note: "预期金额中有 {y} 元尚未出账，不计入差异。", packages: "资源包",
    package: "资源包", kind: "类型", free: "免费", paid: "付费", size: "总量", bought_on: "购买日", expires_on: "到期日", refunded_on: "退订日",
    used_before: "此前已用", used: "所核对月份使用", left: "期末剩余", no_price_book: "只核对了次数：未指定价目表（任务文件中的 reconcile.prices），或金额不是人民币（见警告）。",
    list_sub: "选择一行，查看差异原因及对应的调用。", search_text: "文字或 Seq",
    clear: "清除筛选", show: "显示", page_of: "第 {a}–{b} 条，共 {n} 条", previous: "上一页", following: "下一页", details: "详情",
    no_match: "没有符合筛选条件的内容。", no_differences: "没有差异。", no_rows: "没有数据。", no_bill: "没有读到该产品的账单行。请用 --bill 提供 L3 明细账单。",
    parts: "原因", no_parts: "该行没有记录原因。", no_parts_money: "次数一致而金额不一致，与具体的 Seq 无关：请核对单价和资源包。", seqs_n: "{n} 个 Seq", seqs_cut: "本报告列出 {n} 个 Seq 中的 {a} 个；全部都是 liveness_detail 中该日该计费项的行。",
    copy: "复制", copied: "已复制", copy_seqs: "复制 {n} 个 Seq", copy_command: "复制命令", explain: "定位", show_more: "再显示 {n} 个",
    explain_hint: "查看该调用所在位置（对象、记录、字节），请在生成本报告时所在的目录运行：", objects: "对象", bill_lines: "账单行",
    attempts: "调用", charged: "计费", unknown: "未知", deducted: "资源包抵扣", billed: "计费用量",
    more_than: "这里的 Seq 多于差异数：仅凭次数无法判断是其中哪些。",
    note_again: "这些对象含有已有的 Seq（不分计费项）。一个 Seq 只计一次，因此不造成差异：只是按对象计数会多出这么多。下方列出的是本行中可确定的 Seq（来自没有新内容的对象）；其余的加载记录只保存数量，请在对象中查看。`faceledger explain` 可查某个 Seq 的数据取自哪个对象。",
    note_maybe: "数量少于同期各行可能需要的数量，无法判断属于哪个计费项。因此列在每一行中，但不计入任何一行。",
    note_reject: "未能采用的记录没有计费项：只是可能的原因，并非证明。所列为能够读出的 Seq；`faceledger rejects` 可查每个对象的问题。",
    seqsearch_sub: "查找本报告中的所有 Seq：差异原因、逐笔核对、计费规则核查结果。",
    seqsearch_label: "Seq 或其开头", found: "找到 {n} 条", found_none: "本报告中没有这个 Seq，即它没有造成已发现的差异；`faceledger explain` 可查任意 Seq。",
    found_more: "找到 {n} 条，显示前 {m} 条。", where: "位置", where_part: "差异", where_join: "逐笔核对", where_audit: "计费规则", what: "内容",
    join_sub: "我方记录与服务商清单按 Seq 逐笔核对。", no_join: "未提供服务商的逐笔清单。用 --bill 提供 GetWeChatBillDetails 的分页结果，即可逐笔核对。",
    join_groups: "不一致的调用，按规则和北京时间小时统计", rule: "规则", hour: "小时", no_rule: "（无规则）", cut: "本报告列出 {n} 条中的 {a} 条；全部内容见 {t} 表。",
    our_day: "我方日期", provider_day: "服务商日期", our_charge: "我方", provider_charge: "服务商", yes: "计费", no: "免费", source: "我方数据位置",
    audit_sub: "用公布的计费错误码核查每次调用的 IsNeedCharge。", no_audit: "本次未核查公布的计费规则。",
    checked: "已核查", charged_against: "按规则应免费却计费", free_against: "按规则应计费却免费", no_table: "没有公布的规则表", not_listed: "规则表中没有的错误码", flag_unknown: "计费标识未知",
    overcharge: "以按量付费单价计（元）", overcharge_note: "金额按价目表的按量付费单价计算，未计资源包：由资源包抵扣的调用，多扣的是资源包次数。", overcharge_unpriced: "按规则应免费却计费、价目表中没有价格：{n} 次，未计入金额。", published: "公布规则", edition: "版本", from: "生效日", code: "错误码", is_need_charge: "IsNeedCharge", money_yuan: "按量付费单价（元）", no_findings: "与公布的规则没有矛盾。",
    bill_sub: "已读取的内容，以及无法读取的内容。", file: "文件", encoding: "编码", lines: "行数", other_products: "其他产品", rejects: "无法读取",
    replaced_by: "已被 {f} 取代", row: "行", column: "列", reason: "原因代码", message: "问题说明", no_files: "没有提供账单文件。", counts: "计入", line_count: "{n} 行",
    footer: "由 faceledger 生成。本文件自成一体，不访问任何网络。金额精确到八位小数。",
    print_cut: "打印 {m} 条中的前 {n} 条。", filtered: "已筛选",
    s_matched: "次数一致", money_differs: "次数一致，金额不一致", s_provider_more: "账单多计", s_ours_more: "我方多计", s_provider_only: "仅账单有", s_ours_only: "仅我方有",
    s_pending: "尚未出账", s_covered_by_package: "资源包抵扣", s_unmapped: "无计费项", s_adjusted: "有调账",
    p_midnight: "临近零点：与相邻日抵平", p_unknown_flag: "是否计费未知", p_not_final: "拉取时结果尚未最终确定",
    p_duplicate: "同一 Seq 重复计数", p_reject: "我方未能采用的记录", p_flag_differs: "对方计费而我方免费，或相反",
    p_provider_only: "仅服务商清单有", p_ours_only: "服务商清单没有", p_unexplained: "原因不明",
    q_agree: "一致", q_flag_differs: "计费标志不同", q_day_differs: "日期不同", q_ours_only: "仅我方有", q_provider_only: "仅服务商有",
    n_bill: "用 --bill 提供这些月份的 L3 明细账单。",
    n_product_like_ours: "在任务文件的 reconcile.products 中列出属于人脸核身的产品（警告中给出了要添加的行）。",
    n_package_not_named: "在任务文件中列出购买或退订的资源包（[[reconcile.package]]）。",
    n_contradicts: "就用量自相矛盾或不是整数次的账单行询问服务商（见警告）。",
    n_rounding: "询问服务商月度计费精度差异行的来由：舍入每行不超过一分。",
    n_packages: "对照 [[reconcile.package]] 检查资源包：次数一致，但账单抵扣的用量与任务文件中的资源包不符。",
    n_no_day: "在账单中查找没有日期或属于其他月份的用量行：它们未计入任何一行（请一并提供该月账单）。",
    n_files: "每份账单及官方明细只提供一个文件：较晚下载的文件，或不含账单包的明细账单。",
    n_pages: "提供 DescribeBillDetail 的全部分页（Total 为总行数）。",
    n_other_payer: "对照账单的支付者 UIN 检查 account.uin；其他支付者的金额未核对。",
    n_currency: "提供人民币的账单和价目表，才能核对金额。",
    n_unknown_unit: "在任务文件中说明用量单位等于多少次调用（reconcile.usage_units；警告中给出了要添加的行）。",
    n_unknown_kind: "在任务文件中说明未知交易类型的含义（警告中给出了要添加的行），然后重新核对。",
    n_unpriced: "在价目表中补上缺少的价格，或更正计费项。",
    n_rejects: "修复或重新下载有问题的账单文件：没有读到的行可能就是差异。",
    n_unmapped: "为没有计费项的内容指定计费项：调用在任务文件中加路由，账单行加别名。",
    n_reject: "修复未能采用的记录（faceledger rejects），再重新加载（rejects --retry）。",
    n_not_final: "重新拉取尚未最终确定的结果，加载后再次核对。",
    n_unknown_flag: "重新拉取 IsNeedCharge 未知的结果。",
    n_midnight: "零点附近抵平的部分无需处理：相邻日有对应的另一半。",
    n_duplicate: "把重复计数的 Seq 发给服务商：一个 Seq 是一次调用，只计费一次。",
    n_ticket: "核对两边不一致的 Seq（展开该行并复制；`faceledger explain` 可查其位置，或是否未能采用）：属于我方的先修正并加载，其余发给服务商。",
    n_unexplained: "向服务商索取原因不明日期的逐笔清单（微信渠道为 GetWeChatBillDetails），并用 --bill 提供。",
    n_listed: "把有原因不明部分的行与服务商自己的逐笔清单一并发给服务商：账单次数与其清单不符。",
    n_price: "对照合同检查账单单价：次数一致而金额不一致。",
    n_provisional: "月末后重新核对：次数一致，阶梯单价在月末前为暂估。",
    n_adjusted: "对照服务商的调账通知检查有调账的行。",
    n_audit: "把计费规则核查结果发给服务商：公布规则为免费却计了费。",
    n_pending: "出账后再核对一次：日账单于次日 08:00 至 12:00 出账。",
  },
};
for (const key of new Set([...Object.keys(WORDS.en), ...Object.keys(WORDS.zh)])) {
  if (!(key in WORDS.en) || !(key in WORDS.zh)) console.error(`faceledger: no words for ${key} in both languages`);
}
function t(key, values) {
  const text = WORDS[state.lang][key];
  if (text === undefined) { console.error(`faceledger: no words for ${key}`); return key; }
  // {n:line}: 1 line, 2 lines.
  const counted = (value, noun) => (noun ? `${value} ${noun}${value === "1" ? "" : "s"}` : value);
  return values ? text.replace(/\{(\w+)(?::([^}]+))?\}/g, (_, name, noun) => counted(String(values[name]), noun)) : text;
}
// A code that this page does not know yet is shown as it is.
const named = (prefix, code) => (prefix + code in WORDS.en ? t(prefix + code) : code);

// ---- exact numbers -----------------------------------------------------------------------------------------------

const ONE = 100000000n;
const big = (n) => BigInt(n ?? 0);
const abs = (n) => (n < 0n ? -n : n);
// Amounts are texts of up to eight places; here hundred-millionths.
function units(text) {
  if (text === null || text === undefined) return null;
  const negative = text.startsWith("-");
  const [whole, part = ""] = (negative ? text.slice(1) : text).split(".");
  const n = BigInt(whole) * ONE + BigInt(part.padEnd(8, "0"));
  return negative ? -n : n;
}
const grouped = (digits) => digits.replace(/\B(?=(\d{3})+$)/g, ",");
function count(n) { const v = big(n); return (v < 0n ? "−" : "") + grouped(abs(v).toString()); }
const signed = (n) => (big(n) > 0n ? "+" : "") + count(n);
// At least `places` behind the point, and never fewer than the number has.
function amount(u, places = 2) {
  if (u === null) return "–";
  const v = abs(u), part = (v % ONE).toString().padStart(8, "0").replace(/0+$/, "").padEnd(places, "0");
  return (u < 0n ? "−" : "") + grouped((v / ONE).toString()) + (part ? "." + part : "");
}
const yuan = (u) => amount(u, 2);
const usage = (u) => amount(u, 0);
const signedYuan = (u) => (u === null ? "–" : (u > 0n ? "+" : "") + yuan(u));
const orDash = (n) => (n === null || n === undefined ? "–" : count(n));
// A share of a bar, for drawing.
const share = (n, of, length) => (of === 0n ? 0 : Number((n * 1000000n) / of) * length / 1000000);
const sum = (items, f) => items.reduce((total, item) => total + f(item), 0n);

// ---- the data as the page needs it -------------------------------------------------------------------------------

const SETTLED = new Set(["matched", "covered_by_package"]);
const ROWS = DATA.rows.map((row, index) => {
  const cost = units(row.provider_cost), expected = units(row.expected_cost);
  const costDifference = row.status === "pending" || expected === null ? null : (cost ?? 0n) - expected;
  const counts = !SETTLED.has(row.status) && row.status !== "pending" && !(row.status === "adjusted" && row.difference === 0 && costDifference !== null);
  const differs = counts || (costDifference !== null && costDifference !== 0n);
  return { ...row, index, cost, expected, costDifference, counts, differs, shown: differs || row.parts.length > 0 };
});
const PENDING = new Set(ROWS.filter((r) => r.status === "pending").map((r) => `${r.account} ${r.period} ${r.billing_tag_code}`));
const PERIODS = [...new Set(ROWS.map((r) => r.period))].sort();
const TAGS = (() => {
  const total = new Map();
  for (const r of ROWS) total.set(r.billing_tag, (total.get(r.billing_tag) ?? 0n) + big(r.ours_charged) + big(r.provider_calls));
  return [...total.keys()].sort((a, b) => (total.get(b) > total.get(a) ? 1 : total.get(b) < total.get(a) ? -1 : a < b ? -1 : 1));
})();
const COLOURS = 7; // and one more for the tags that are left
const colour = (tag) => Math.min(TAGS.indexOf(tag), COLOURS);
const BY_CELL = new Map();
for (const r of ROWS) {
  const key = JSON.stringify([r.billing_tag, r.period]);
  let cell = BY_CELL.get(key);
  if (!cell) BY_CELL.set(key, cell = { ours: 0n, bill: 0n, lines: false, difference: 0n, compared: false, rows: [] });
  cell.ours += big(r.ours_charged); cell.bill += big(r.provider_calls); cell.lines ||= r.provider_calls !== null;
  if (r.counts) cell.difference += big(r.difference);
  cell.compared ||= r.status !== "pending" && r.status !== "covered_by_package";
  cell.rows.push(r);
}
const cellOf = (tag, period) => BY_CELL.get(JSON.stringify([tag, period]));

// ---- state and elements ------------------------------------------------------------------------------------------

const state = {
  lang: (navigator.language || "").toLowerCase().startsWith("zh") ? "zh" : "en",
  theme: "auto", printing: false, tag: "", period: "", status: "differences", text: "",
  sort: { key: "size", down: true }, open: new Set(), page: {}, joinStatus: "", joinRule: null, joinHour: null, seq: "",
};
const SVG = "http://www.w3.org/2000/svg";
function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}
const h = (name, attributes, ...children) => fill(document.createElement(name), attributes, children);
const s = (name, attributes, ...children) => fill(document.createElementNS(SVG, name), attributes, children);
const chip = (text, mood) => h("span", { class: "chip " + (mood || "") }, text);
const mood = (status) => (status === "matched" || status === "agree" ? "good" : ["pending", "covered_by_package"].includes(status) ? "" : "bad");
// A row whose calls agree agrees only where its money does.
const onlyMoney = (r) => r.difference === 0 && r.costDifference !== null && r.costDifference !== 0n;
const statusChip = (r) => (r.status === "matched" && onlyMoney(r) ? chip(t("money_differs"), "bad") : chip(named("s_", r.status), mood(onlyMoney(r) ? "" : r.status)));
const direction = (n) => (n > 0n ? "more" : n < 0n ? "less" : "");
const section = (id, title, ...children) => h("section", { id, "aria-labelledby": "h-" + id }, h("h2", { id: "h-" + id }, title), ...children);
const scroll = (label, ...children) => h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, ...children);
const empty = (text) => h("p", { class: "empty" }, text);

async function copy(text, button) {
  try { await navigator.clipboard.writeText(text); } catch {
    const area = h("textarea", { class: "sr" }); area.value = text; document.body.append(area); area.select();
    document.execCommand("copy"); area.remove();
  }
  const before = button.textContent; button.textContent = t("copied"); say(t("copied"));
  setTimeout(() => { button.textContent = before; }, 1200);
}
const copyButton = (label, text) => h("button", { type: "button", class: "small", onclick: (e) => copy(text(), e.currentTarget) }, label);
const quoted = (word) => (/^[\w.\/:-]+$/.test(word) && !word.startsWith("-") ? word : "'" + word.replace(/'/g, "'\\''") + "'");
const explainCommand = (seq) => `faceledger explain ${quoted(DATA.pipeline_file || DATA.pipeline + ".toml")} ${seq.startsWith("-") ? "-- " : ""}${quoted(seq)}`;

// Said to those who hear the page.
const live = h("div", { class: "sr", "aria-live": "polite", id: "live" });
const say = (text) => { live.textContent = text; };
const tip = h("div", { id: "tip", role: "tooltip", hidden: true });
function showTip(target, content) {
  tip.replaceChildren(...content()); tip.hidden = false;
  const at = target.getBoundingClientRect(), box = tip.getBoundingClientRect();
  const left = Math.max(8, Math.min(at.left + at.width / 2 - box.width / 2, innerWidth - box.width - 8));
  const above = at.top - box.height - 8;
  tip.style.left = left + "px"; tip.style.top = (above > 4 ? above : Math.min(at.bottom + 8, innerHeight - box.height - 4)) + "px";
}
const hideTip = () => { tip.hidden = true; };
function withTip(element, content) {
  element.addEventListener("mouseenter", () => showTip(element, content)); element.addEventListener("mouseleave", hideTip);
  element.addEventListener("focus", () => showTip(element, content)); element.addEventListener("blur", hideTip);
  return element;
}
document.addEventListener("keydown", (e) => { if (e.key === "Escape") hideTip(); });
document.addEventListener("scroll", hideTip, { passive: true, capture: true });

function tipTable(title, rows) {
  return [h("b", {}, title), h("table", {}, h("tr", {}, ["", t("ours"), t("bill_line"), t("difference")].map((x) => h("th", { class: "num" }, x))),
    rows.map(([name, ours, bill, difference]) => h("tr", {}, h("td", {}, name), h("td", { class: "num" }, count(ours)), h("td", { class: "num" }, bill === null ? "–" : count(bill)), h("td", { class: "num" }, difference === null ? "–" : signed(difference)))))];
}

// ---- tables that show a page of their rows -----------------------------------------------------------------------

const PAGE = 50, PRINTED_MAX = 1000;
function paged(id, rows, columns, { sort, onsort, detail, empty: none, label } = {}) {
  if (!rows.length) return empty(none);
  const size = state.printing ? PRINTED_MAX : PAGE, pages = Math.ceil(rows.length / size);
  const page = state.printing ? 0 : Math.min(state.page[id] ?? 0, pages - 1), shown = rows.slice(page * size, (page + 1) * size);
  const wide = columns.length + (detail ? 1 : 0);
  const head = columns.map((c) => {
    const sorted = sort && sort.key === c.key;
    return h("th", { scope: "col", class: c.num && "num", "aria-sort": sorted ? (sort.down ? "descending" : "ascending") : null },
      onsort && c.by ? h("button", { type: "button", "data-sort": c.key, onclick: () => onsort(c.key) }, c.label, sorted ? (sort.down ? " ▼" : " ▲") : "") : c.label);
  });
  const body = shown.map((row) => {
    const open = detail && (state.printing || state.open.has(row.index));
    const line = h("tr", { "data-row": row.index ?? null }, columns.map((c) => h("td", { class: [c.num && "num", c.wrap && "wrap", c.day && "day", c.tone && c.tone(row)].filter(Boolean).join(" ") || null }, c.cell(row))),
      detail && h("td", { class: "noprint" }, h("button", { type: "button", class: "small", "aria-expanded": String(Boolean(open)), onclick: () => {
        state.open.has(row.index) ? state.open.delete(row.index) : state.open.add(row.index); update(id); focusIn(id, `tr[data-row="${row.index}"] button`);
      } }, t("details"))));
    return open ? [line, h("tr", { class: "detail" }, h("td", { colspan: wide }, detail(row)))] : line;
  });
  const go = (to) => { state.page[id] = to; update(id); document.getElementById(id).scrollIntoView(); say(t("page_of", range(to))); };
  const range = (p) => ({ a: count(p * size + 1), b: count(Math.min((p + 1) * size, rows.length)), n: count(rows.length) });
  return [scroll(label || t(id), h("table", {}, h("thead", {}, h("tr", {}, head, detail && h("th", { class: "noprint" }, h("span", { class: "sr" }, t("details"))))), h("tbody", {}, body))),
    h("div", { class: "pager" }, pages > 1 && !state.printing && h("button", { type: "button", disabled: page === 0, "data-go": "previous", onclick: () => go(page - 1) }, t("previous")),
      h("span", {}, state.printing && pages > 1 ? t("print_cut", { n: count(size), m: count(rows.length) }) : t("page_of", range(page))),
      pages > 1 && !state.printing && h("button", { type: "button", disabled: page === pages - 1, "data-go": "next", onclick: () => go(page + 1) }, t("following")))];
}
function focusIn(id, selector) { document.getElementById(id)?.querySelector(selector)?.focus({ preventScroll: true }); }

// ---- sections ----------------------------------------------------------------------------------------------------

function overview() {
  const differing = ROWS.filter((r) => r.differs), pending = ROWS.filter((r) => r.status === "pending");
  const more = sum(differing, (r) => (r.difference > 0 ? big(r.difference) : 0n)), less = -sum(differing, (r) => (r.difference < 0 ? big(r.difference) : 0n));
  const costed = DATA.money ? ROWS.filter((r) => r.costDifference !== null) : [];
  const cost = sum(costed, (r) => r.costDifference);
  const beside = DATA.beside.filter((b) => b.over_tolerance), compared = isCompared(DATA.money);
  const unpriced = DATA.money ? DATA.money.unpriced_tags : [];
  let verdict, heading, sub = [];
  const allowed = t(compared ? "t_both" : "t_calls", { n: count(DATA.tolerance_calls), y: yuan(units(DATA.tolerance_amount)) });
  const tolerance = { n: count(DATA.over_tolerance), m: count(ROWS.length), t: allowed };
  if (!ROWS.length) { verdict = ""; heading = t("nothing"); sub.push(t("nothing_sub")); }
  else if (pending.length === ROWS.length) { verdict = ""; heading = t("pending_only"); sub.push(t("pending_only_sub", { n: count(ROWS.length) })); }
  else if (!differing.length && beside.length) { verdict = "bad"; heading = t("not_all", { n: count(ROWS.length - pending.length) }); }
  else if (!differing.length) { verdict = "good"; heading = t("right", { n: count(ROWS.length - pending.length) }); sub.push(t(compared ? "right_sub" : "right_calls_sub")); if (DATA.audit && DATA.audit.charged_against_rule > 0) sub.push(t("right_audit", { n: count(DATA.audit.charged_against_rule) })); }
  else {
    verdict = "bad";
    const calls = more && less ? t("how_both", { n: count(more), m: count(less) }) : more ? t("how_more", { n: count(more) }) : less ? t("how_less", { n: count(less) }) : t("how_same");
    const money = !compared ? "" : t("and") + (cost > 0n ? t("money_more", { y: yuan(cost) }) : cost < 0n ? t("money_less", { y: yuan(-cost) }) : t("money_same"));
    // Whether the change makes it right is for money to say.
    const onlyChanged = differing.every((r) => r.status === "adjusted" && r.difference === 0 && r.costDifference === null);
    heading = t(onlyChanged ? "changed" : "differs", { how: t("colon") + calls + money });
    sub.push(DATA.over_tolerance ? t("tolerance", tolerance) : t("within", tolerance));
  }
  sub.push(...DATA.beside.filter((b) => b.over_tolerance || b.kind !== "no_price").map(besideWords));
  if (unpriced.length) sub.push(t("unpriced_note", { tags: unpriced.join(", "), y: yuan(units(DATA.money.bill_cost_unpriced)) }));
  if (pending.length && pending.length < ROWS.length) sub.push(t("pending_note", { n: count(pending.length) }));
  if (DATA.money && DATA.money.waterfall.some((w) => w.provisional)) sub.push(t("provisional_note"));
  const fact = (label, value) => h("div", {}, h("dt", {}, label), h("dd", {}, value));
  const card = (id, label, value, tone) => h("div", { class: "card" }, h("div", { class: "n " + (tone || ""), "data-n": id }, value), h("div", { class: "l" }, label));
  const net = more - less;
  const steps = nextSteps(ROWS.filter((r) => r.shown));
  return h("section", { id: "overview", class: "verdict " + verdict, "aria-labelledby": "h-overview" },
    h("h2", { id: "h-overview", class: "sr" }, t("overview")), h("p", { class: "say" }, heading), sub.map((x) => h("p", {}, x)),
    !DATA.bill.lines && h("p", { class: "warn" }, t("no_bill")),
    h("div", { class: "cards" },
      card("ours", t("ours_charged"), count(sum(ROWS, (r) => big(r.ours_charged)))), card("bill", t("bill_calls"), count(sum(ROWS, (r) => big(r.provider_calls)))),
      card("difference", t("net"), signed(net), direction(net)), card("differ", t("rows_differ"), `${count(differing.length)} / ${count(ROWS.length)}`),
      compared && card("cost", t("cost_difference"), signedYuan(cost), direction(cost))),
    steps.length > 0 && [h("h3", {}, t("next")), h("ol", { class: "steps" }, steps.map((x) => h("li", {}, t(x))))],
    DATA.totals.length > 0 && scroll(t("status"), h("table", { id: "totals" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("status")), ["rows", "ours_charged", "bill_calls", "difference"].map((k) => h("th", { scope: "col", class: "num" }, t(k))))),
      h("tbody", {}, DATA.totals.map((x) => h("tr", { "data-status": x.status }, h("td", {}, h("button", { type: "button", class: "small", onclick: () => filter({ status: x.status }, true) }, named("s_", x.status))),
        [count(x.rows), count(x.ours_charged), count(x.provider_calls), signed(x.difference)].map((n) => h("td", { class: "num" }, n))))),
      h("tfoot", {}, h("tr", {}, h("th", { scope: "row" }, t("total")), ["rows", "ours_charged", "provider_calls"].map((k) => h("td", { class: "num" }, count(sum(DATA.totals, (x) => big(x[k]))))),
        h("td", { class: "num" }, signed(sum(DATA.totals, (x) => big(x.difference)))))))),
    h("dl", { class: "facts" }, fact(t("pipeline"), DATA.pipeline), fact(t("account"), DATA.account), fact(t("months"), DATA.months.join(", ") || t("none")), fact(t("as_of"), DATA.as_of),
      fact(t("versions"), `liveness_detail ${DATA.detail_version ?? t("none")}, daily_charge ${DATA.daily_version ?? t("none")}`)));
}

// Whether any amount can be compared: no calls, and calls of a package, cost nothing even without a price.
function isCompared(m) { return !!m && m.waterfall.some((w) => w.expected_cost !== null && (w.unit_price !== null || w.bill_cost !== null || units(w.expected_cost) !== 0n)); }

// What of the bill no row holds, and what it comes to.
function besideWords(b) {
  const net = units(b.cost), gross = units(b.cost_gross), amounts = [];
  if (net !== null) amounts.push(t("yuan_of", { y: signedYuan(net) }));
  if (gross !== null && gross !== abs(net)) amounts.push(t("gross_of", { g: yuan(gross) }));
  return ("b_" + b.kind in WORDS.en ? t("b_" + b.kind, { n: count(b.lines) }) : b.kind) + (amounts.length ? t("colon") + amounts.join(t("and")) : "");
}

function nextSteps(differing) {
  const part = (...kinds) => differing.some((r) => r.parts.some((p) => kinds.includes(p.kind) && p.count !== 0));
  const unexplained = (listed) => differing.some((r) => r.listed === listed && r.parts.some((p) => p.kind === "unexplained" && p.count !== 0));
  const status = (name) => ROWS.some((r) => r.status === name), beside = (kind) => DATA.beside.some((b) => b.kind === kind && b.over_tolerance);
  const key = (r) => `${r.account} ${r.period} ${r.billing_tag_code}`;
  const settled = (is) => new Set(DATA.money ? DATA.money.waterfall.filter(is).map(key) : []);
  const disagree = settled((w) => (units(w.bill_deducted) ?? 0n) !== BigInt(w.free_package + w.paid_package) * ONE), provisional = settled((w) => w.provisional);
  const moneyOnly = differing.filter((r) => r.difference === 0 && r.status !== "adjusted" && r.costDifference), ofPackages = (r) => disagree.has(key(r));
  const prices = moneyOnly.filter((r) => !ofPackages(r)), isProvisional = (r) => provisional.has(key(r));
  return [["n_bill", !DATA.bill.lines], ["n_rejects", DATA.bill.rejects_total > 0], ["n_product_like_ours", beside("product_like_ours")], ["n_package_not_named", beside("package_not_named")],
    ["n_contradicts", beside("measures_disagree") || beside("payments_disagree") || beside("no_count")], ["n_rounding", beside("rounding_too_large")], ["n_currency", beside("currency") || beside("price_book_currency")], ["n_unknown_kind", beside("unknown_kind")], ["n_unknown_unit", beside("unknown_unit")],
    ["n_unpriced", DATA.money && DATA.money.unpriced_tags.length > 0], ["n_unmapped", status("unmapped")], ["n_reject", differing.some((r) => r.parts.some((p) => p.kind === "reject"))],
    ["n_not_final", part("not_final")], ["n_unknown_flag", part("unknown_flag")], ["n_midnight", part("midnight")], ["n_duplicate", part("duplicate")],
    ["n_ticket", part("flag_differs", "provider_only", "ours_only") || beside("seqs_differ")], ["n_unexplained", unexplained(false)], ["n_listed", unexplained(true)],
    ["n_packages", moneyOnly.some(ofPackages)], ["n_no_day", beside("no_day") || beside("other_month")], ["n_pages", beside("pages_missing") || beside("parts_missing")], ["n_files", beside("files_differ")], ["n_other_payer", beside("other_payer")],
    ["n_price", prices.some((r) => !isProvisional(r))], ["n_provisional", prices.some(isProvisional)], ["n_adjusted", status("adjusted")],
    ["n_audit", DATA.audit && DATA.audit.charged_against_rule > 0], ["n_pending", status("pending")]].filter(([, needed]) => needed).map(([key]) => key);
}

// Warnings are written in English, for terminals and logs. The frequent ones in Chinese; what is not among them stays as it is.
const CHINESE = [
  [/^(.*): delivered on (\S+), it holds (\S+) up to (\S+): the month is not complete$/, "$1：$2 投递，仅包含 $3 截至 $4 的账单，该月不完整"],
  [/^(\S+) is not complete: the bill of (.*) is not out yet at that time; .*$/, "$1 不完整：截至该时间，$2 的账单尚未出具；出账后请重新核对"],
  [/^(\S+) is not over at that time: what is compared ends with (\S+); .*$/, "截至该时间 $1 尚未结束：核对到 $2 为止；账单完整后请重新核对"],
  [/^neither our records nor the bill have anything of (\S+) after (\S+): .*$/, "$1 在 $2 之后，我方记录和账单都没有数据：账单是整月文件吗，结果是否全部加载？"],
  [/^the bill of account (\S+) has no line at all of (\d+) days? of (\S+) on which ours has charges \((.*)\), and (?:some up to (\S+)|none of the month): .*$/, "账号 $1 的账单在 $3 有 $2 天没有任何明细，而我方有计费（$4）：是整月的账单文件吗？按扣费周期统计时，最后一天在次月账单中"],
  [/^our records of account (\S+) have nothing at all of (\d+) days? of (\S+) which the bill charges \((.*)\), and .*$/, "账号 $1 的账单在 $3 有 $2 天计费（$4），而我方没有任何记录：该月结果是否全部加载？"],
  [/^by deduction time \(按扣费周期\) the usage of (.*) stands in the bill of (\S+), which was not given: left out$/, "按扣费周期，$1 的用量在 $2 的账单中，未提供该账单：未核对"],
  [/^(\d+) lines? paid after that time, left out$/, "$1 行在该时间之后扣费，未计入"],
  [/^(\d+) attempts? made before that time and first pulled after it, so not known then: left out$/, "$1 次核身发生在该时间之前、首次拉取在其之后，当时未知：未计入"],
  [/^(\d+) attempts? without a time of the pull .*$/, "$1 次核身没有拉取时间（source.envelope.fetched_at），视为已知"],
  [/^(\d+) lines? in more than one of the files or pages, counted once$/, "$1 行在多个文件或分页中重复，只计一次"],
  [/^(.*): not out yet at that time, left out$/, "$1：截至该时间尚未出具，未计入"],
  [/^(.*): passed over, being no CSV: (.*)$/, "$1：跳过（不是 CSV）：$2"],
  [/^(\d+) records? of ours, set aside, without a date in the key, and so no part of any row: .*$/, "$1 条被搁置的记录，其对象键中没有日期，无法归入任何一行：如键中有日期，请在 source.keys 中使用 {date}；faceledger rejects 可列出"],
  [/^(.*): (\d+) pages? of the provider's list with a next one \(HasNextPage\) that is missing: .*$/, "$1：官方明细有 $2 页之后还有下一页（HasNextPage），但未提供：仅我方有的 Seq 可能在其中"],
  [/^the provider's list holds charged attempts alone: .*$/, "官方明细只含计费的核身：我方多出的免费核身不算差异"],
  [/^(.*): Total says (\d+) bill lines, .*: see that the other pages are given, too$/, "$1：Total 为 $2 行，提供的分页不足：请补齐其余分页"],
  [/^(\d+) lines? of other payers \(支付者 UIN\) than account\.uin (\S+): .*$/, "$1 行的支付者 UIN 不是 $2：单独列出，金额不计入"],
];
function warning(text) {
  const known = state.lang === "zh" ? CHINESE.find(([pattern]) => pattern.test(text)) : undefined;
  return known ? text.replace(known[0], known[1]) : text;
}

// A round number at or above n for the axis, and its steps.
function axis(most) {
  if (most <= 4n) return [0n, 1n, 2n, 3n, 4n].slice(0, Number(most < 1n ? 1n : most) + 1);
  let step = 1n;
  while (true) for (const m of [1n, 2n, 5n]) { if (m * step * 5n >= most) { const out = []; for (let v = 0n; v < most + m * step; v += m * step) out.push(v); return out; } if (m === 5n) step *= 10n; }
}

function chart(periods, id) {
  const tagged = periods.map((period) => {
    const cells = TAGS.map((tag) => [tag, cellOf(tag, period)]).filter(([, c]) => c && (!state.tag || state.tag === c.rows[0].billing_tag));
    return { period, cells, ours: sum(cells, ([, c]) => c.ours), bill: sum(cells, ([, c]) => c.bill), lines: cells.some(([, c]) => c.lines), difference: sum(cells, ([, c]) => c.difference) };
  });
  const most = tagged.reduce((m, d) => [m, d.ours, d.bill].reduce((a, b) => (b > a ? b : a)), 0n), ticks = axis(most), top = ticks[ticks.length - 1];
  const left = 12 + 7 * count(top).length, width = Math.max(periods.length * 26, 1140 - left - 10), step = Math.min(width / periods.length, 120), bar = Math.max(Math.min(step - 8, 46), 8), tall = 220, head = 26;
  const y = (n) => head + tall - share(n, top, tall);
  const svg = s("svg", { width: left + step * periods.length + 10, height: head + tall + 40, role: "group", "aria-label": t("chart_label"), "data-chart": id });
  for (const tick of ticks) svg.append(s("line", { class: "grid", x1: left, x2: left + step * periods.length, y1: y(tick), y2: y(tick) }), s("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, count(tick)));
  tagged.forEach((day, i) => {
    const x = left + step * i, middle = x + step / 2;
    const label = `${day.period}${t("colon")}${t("ours")} ${count(day.ours)}, ${t("bill_line")} ${day.lines ? count(day.bill) : "–"}, ${t("difference")} ${signed(day.difference)}`;
    const group = s("g", { tabindex: i === 0 ? 0 : -1, role: "button", "aria-label": label, "aria-pressed": String(state.period === day.period), "data-period": day.period, "data-ours": day.ours, "data-bill": day.bill });
    group.append(s("rect", { class: "hit", x, y: 2, width: step, height: head + tall + 30, rx: 4 }));
    let under = 0n;
    for (const [tag, cell] of day.cells) {
      if (cell.ours === 0n) continue;
      const high = share(cell.ours, top, tall);
      under += cell.ours;
      group.append(s("rect", { class: `seg t${colour(tag)}`, x: middle - bar / 2, y: y(under), width: bar, height: Math.max(high, 0.5), "data-tag": tag, "data-count": cell.ours }));
    }
    if (day.lines) group.append(s("line", { class: "tickhalo", x1: middle - bar / 2 - 3, x2: middle + bar / 2 + 3, y1: y(day.bill), y2: y(day.bill) }), s("line", { class: "tick", x1: middle - bar / 2 - 3, x2: middle + bar / 2 + 3, y1: y(day.bill), y2: y(day.bill) }));
    if (day.difference) group.append(s("text", { class: "diff " + direction(day.difference), x: middle, y: y(day.ours > day.bill ? day.ours : day.bill) - 6, "text-anchor": "middle" }, short(day.difference)));
    group.append(s("text", { x: middle, y: head + tall + 16, "text-anchor": "middle" }, day.period.length === 10 ? day.period.slice(8) : day.period));
    if (day.period.length === 10 && (i === 0 || day.period.slice(0, 7) !== tagged[i - 1].period.slice(0, 7))) group.append(s("text", { x: x + 2, y: head + tall + 33 }, day.period.slice(0, 7)));
    const pick = () => filter({ period: state.period === day.period ? "" : day.period }, false, `[data-chart="${id}"] [data-period="${day.period}"]`);
    group.addEventListener("click", pick);
    group.addEventListener("keydown", (e) => {
      const groups = [...svg.querySelectorAll("g[tabindex]")], to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: groups.length - 1 }[e.key];
      if (e.key === "Enter" || e.key === " ") { e.preventDefault(); pick(); }
      if (to !== undefined && groups[to]) { e.preventDefault(); groups.forEach((g, n) => g.setAttribute("tabindex", n === to ? 0 : -1)); groups[to].focus(); }
    });
    withTip(group, () => tipTable(day.period, [...day.cells.slice(0, 12).map(([tag, c]) => [tag, c.ours, c.lines ? c.bill : null, c.compared ? c.difference : null]), [t("total"), day.ours, day.lines ? day.bill : null, day.difference]]));
    svg.append(group);
  });
  if (state.printing) svg.setAttribute("viewBox", `0 0 ${svg.getAttribute("width")} ${svg.getAttribute("height")}`);
  return svg;
}
// In a cell of two digits' width.
function short(n) { const v = abs(n), sign = n > 0n ? "+" : "−"; return n === 0n ? "·" : sign + (v < 10000n ? v : v < 10000000n ? `${v / 1000n}k` : `${v / 1000000n}M`); }

function charges() {
  if (!ROWS.length) return section("charges", t("charges"), empty(t("no_rows")));
  const days = PERIODS.filter((p) => p.length === 10), months = PERIODS.filter((p) => p.length !== 10);
  const shown = TAGS.slice(0, COLOURS);
  return section("charges", t("charges"), h("p", { class: "muted" }, t("charges_sub")),
    h("div", { class: "legend" }, shown.map((tag, i) => h("button", { type: "button", "aria-pressed": String(state.tag === tag), "data-legend": tag, onclick: () => filter({ tag: state.tag === tag ? "" : tag }, false, `[data-legend="${CSS.escape(tag)}"]`) }, h("span", { class: `swatch t${i}` }), tag)),
      TAGS.length > COLOURS && h("span", { class: "key" }, h("span", { class: "swatch t7" }), t("others")), h("span", { class: "key" }, h("span", { class: "swatch tick" }), t("bill_line"))),
    days.length > 0 && scroll(t("chart_label"), chart(days, "days")), months.length > 0 && [h("h3", {}, t("monthly")), scroll(t("chart_label"), chart(months, "months"))]);
}

function heat() {
  if (!ROWS.length) return section("heat", t("heat"), empty(t("no_rows")));
  let most = 0n;
  for (const c of BY_CELL.values()) if (abs(c.difference) > most) most = abs(c.difference);
  // Four steps, each of them of so many times as many calls: few differences are as large as the largest.
  const level = (n) => { const v = abs(n), b3 = most / 2n, b2 = most / 8n, b1 = most / 32n; return v > b3 ? 4 : v > b2 ? 3 : v > b1 ? 2 : 1; };
  const tags = [...TAGS].sort((a, b) => (a < b ? -1 : 1));
  const cell = (tag, period, i, j) => {
    const c = cellOf(tag, period);
    if (!c) return h("td", {});
    const tone = !c.compared ? "x" : c.difference > 0n ? "more" + level(c.difference) : c.difference < 0n ? "less" + level(c.difference) : "";
    const statuses = [...new Set(c.rows.map((r) => named("s_", r.status)))].join(", ");
    const button = h("button", { type: "button", class: tone, tabindex: i === 0 && j === 0 ? 0 : -1, "data-cell": true, "data-tag": tag, "data-period": period, "data-difference": c.difference,
      "aria-pressed": String(state.tag === tag && state.period === period), "aria-label": `${tag}, ${period}${t("colon")}${signed(c.difference)}, ${statuses}`,
      onclick: () => (state.tag === tag && state.period === period ? filter({ tag: "", period: "" }, false) : filter({ tag, period, status: c.rows.some((r) => r.shown) ? "differences" : "rows" }, true)) }, c.compared ? short(c.difference) : "");
    return h("td", {}, withTip(button, () => [...tipTable(`${tag}, ${period}`, [["", c.ours, c.lines ? c.bill : null, c.compared ? c.difference : null]]), h("span", {}, statuses)]));
  };
  const table = h("table", { class: "heat", role: "grid" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, h("span", { class: "sr" }, t("tag"))), PERIODS.map((p, i) => h("th", { scope: "col", title: p }, p.length === 10 ? (i === 0 || p.slice(0, 7) !== PERIODS[i - 1].slice(0, 7) ? p.slice(5) : p.slice(8)) : p)))),
    h("tbody", {}, tags.map((tag, i) => h("tr", {}, h("th", { scope: "row" }, tag), PERIODS.map((p, j) => cell(tag, p, i, j))))));
  table.addEventListener("keydown", (e) => {
    const move = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[e.key], td = e.target.closest("td");
    if (!move || !td) return;
    e.preventDefault();
    let row = td.parentNode, column = td.cellIndex;
    while (true) {
      column += move[1]; row = move[0] > 0 ? row.nextSibling : move[0] < 0 ? row.previousSibling : row;
      const next = row && row.cells[column];
      if (!next) return;
      const button = next.querySelector("button");
      if (button) { for (const b of table.querySelectorAll('button[tabindex="0"]')) b.tabIndex = -1; button.tabIndex = 0; button.focus(); return; }
    }
  });
  const key = (cls) => h("i", { class: cls });
  return section("heat", t("heat"), h("p", { class: "muted" }, t("heat_sub")), scroll(t("heat"), table),
    h("div", { class: "scale" }, t("bill_less"), " ", ["less4", "less3", "less2", "less1", "zero", "more1", "more2", "more3", "more4"].map(key), " ", t("bill_more"), "  ", key("x"), " ", t("not_compared")));
}

function money() {
  const m = DATA.money;
  if (!m) return section("money", t("money"), empty(t("no_price_book")));
  const compared = isCompared(m);
  const rows = m.waterfall.filter((w) => (!state.tag || w.billing_tag === state.tag) && (!state.period || w.period === state.period));
  const optional = (list, key) => { const known = list.filter((w) => w[key] !== null); return known.length ? sum(known, (w) => units(w[key])) : null; };
  // What has no price is held against nothing, as in the cards.
  const priced = (list) => list.filter((w) => w.expected_cost !== null);
  const totals = (list) => ({ calls: sum(list, (w) => big(w.calls)), free: sum(list, (w) => big(w.free_package)), paid: sum(list, (w) => big(w.paid_package)), post: sum(list, (w) => big(w.postpaid)),
    deducted: optional(list, "bill_deducted"), billed: optional(list, "bill_billed"), expected: optional(list, "expected_cost"), cost: optional(priced(list), "bill_cost"), difference: optional(list, "difference_cost"),
    prices: [...new Set(list.map((w) => w.unit_price).filter((p) => p !== null))], provisional: list.some((w) => w.provisional) });
  const all = totals(rows);
  const later = sum(priced(rows).filter((w) => PENDING.has(`${w.account} ${w.period} ${w.billing_tag_code}`)), (w) => units(w.expected_cost));
  const tags = TAGS.concat([...new Set(rows.map((w) => w.billing_tag))].filter((x) => !TAGS.includes(x)));
  const byTag = new Map();
  for (const w of rows) { if (!byTag.has(w.billing_tag)) byTag.set(w.billing_tag, []); byTag.get(w.billing_tag).push(w); }
  // Only the steps: what is left of all calls after each package.
  const steps = [["calls", 0n, all.calls, 5], ["free_package", all.calls - all.free, all.calls, 2], ["paid_package", all.post, all.calls - all.free, 0], ["postpaid", 0n, all.post, 1]];
  const top = all.calls > 0n ? all.calls : 1n, wide = 180, tall = 170, y = (n) => 24 + tall - share(n, top, tall);
  const svg = s("svg", { width: wide * 5 + 10, height: tall + 56, role: "img", "aria-label": `${t("waterfall_label")}${t("colon")}${steps.map(([k, a, b]) => `${t(k)} ${count(b - a)}`).join(", ")}`, "data-chart": "waterfall" });
  if (state.printing) svg.setAttribute("viewBox", `0 0 ${wide * 5 + 10} ${tall + 56}`);
  svg.append(s("line", { class: "grid", x1: 0, x2: wide * 5, y1: y(0n), y2: y(0n) }));
  steps.forEach(([key, low, high, tone], i) => {
    const x = i * wide + 30;
    if (i < 3) svg.append(s("line", { class: "link", x1: x + wide - 60, x2: x + wide, y1: y(i === 0 ? high : low), y2: y(i === 0 ? high : low) }));
    svg.append(s("rect", { class: `t${tone}`, x, y: y(high), width: wide - 60, height: share(high - low, top, tall), rx: 2, "data-step": key, "data-count": high - low }),
      s("text", { class: "value", x: x + (wide - 60) / 2, y: y(high) - 6, "text-anchor": "middle" }, (i === 1 || i === 2) && high > low ? "−" + count(high - low) : count(high - low)), s("text", { class: "label", x: x + (wide - 60) / 2, y: tall + 42, "text-anchor": "middle" }, t(key)));
  });
  if (all.billed !== null) {
    const x = 4 * wide + 30, billed = all.billed / ONE, high = billed < 0n ? 0n : billed > top ? top : billed;
    svg.append(s("rect", { class: "t7", x, y: y(high), width: wide - 60, height: share(high, top, tall), rx: 2, "data-step": "bill_billed", "data-count": all.billed }),
      s("text", { class: "value", x: x + (wide - 60) / 2, y: y(high) - 6, "text-anchor": "middle" }, usage(all.billed)), s("text", { class: "label", x: x + (wide - 60) / 2, y: tall + 42, "text-anchor": "middle" }, t("bill_billed")));
  }
  const cells = (w) => [count(w.calls), count(w.free), count(w.paid), count(w.post), usage(w.deducted), usage(w.billed), w.prices.slice(0, 3).map((p) => yuan(units(p))).join(" / ") + (w.prices.length > 3 ? " …" : "") || "–", yuan(w.expected), yuan(w.cost), signedYuan(w.difference)];
  const line = (tag, w) => h("tr", { "data-tag": tag }, h("td", {}, tag, w.provisional ? [" ", chip(t("provisional"))] : ""), cells(w).map((c, i) => h("td", { class: "num " + (i === 9 && w.difference !== null ? direction(w.difference) : "") }, c)));
  const card = (id, label, value) => h("div", { class: "card" }, h("div", { class: "n", "data-n": id }, value), h("div", { class: "l" }, label));
  // Of the whole bill, whatever the filter.
  const rounding = h("tr", { "data-tag": "rounding" }, h("td", {}, t("rounding_row")), Array.from({ length: 10 }, (_, i) => h("td", { class: "num" }, i === 7 ? yuan(units(m.expected_rounding)) : i === 8 ? yuan(units(m.bill_rounding)) : "–")));
  return section("money", t("money"), h("p", { class: "muted" }, t("money_sub"), " ", t("price_book"), t("colon"), m.price_book), later !== 0n && h("p", { class: "muted" }, t("not_billed_note", { y: yuan(later) })), filterNote(),
    h("div", { class: "cards" }, compared && card("expected_cost", t("expected_cost"), yuan(units(m.expected_cost))), compared && card("bill_cost", t("bill_cost"), yuan(units(m.bill_cost))),
      m.unpriced_tags.length > 0 && card("bill_cost_unpriced", t("bill_cost_unpriced"), yuan(units(m.bill_cost_unpriced))), card("bill_rounding", t("bill_rounding"), yuan(units(m.bill_rounding))), card("expected_rounding", t("expected_rounding"), yuan(units(m.expected_rounding)))),
    rows.length ? [scroll(t("waterfall_label"), svg), scroll(t("money"), h("table", { id: "waterfall" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("tag")),
      ["calls", "free_package", "paid_package", "postpaid", "bill_deducted", "bill_billed", "unit_price", "expected_cost", "bill_cost", "cost_difference"].map((k) => h("th", { scope: "col", class: "num" }, t(k))))),
      h("tbody", {}, tags.filter((x) => byTag.has(x)).map((x) => line(x, totals(byTag.get(x))))), h("tfoot", {}, line(t("total"), { ...all, prices: [] }), rounding)))] : empty(t("no_match")),
    m.packages.length > 0 && [h("h3", {}, t("packages")), scroll(t("packages"), h("table", { id: "packages" }, h("thead", {}, h("tr", {}, ["package", "tag", "kind", "bought_on", "expires_on", "refunded_on"].map((k) => h("th", { scope: "col" }, t(k))), ["size", "used_before", "used", "left"].map((k) => h("th", { scope: "col", class: "num" }, t(k))))),
      h("tbody", {}, m.packages.map((p) => h("tr", {}, [p.id, p.billing_tag_code, p.free ? t("free") : t("paid"), p.bought_on, p.expires_on, p.refunded_on ?? "–"].map((x) => h("td", {}, x)), [p.size, p.used_before, p.used, p.left].map((n) => h("td", { class: "num" }, count(n))))))))]);
}
function filterNote() {
  if (!state.tag && !state.period) return null;
  return h("p", { class: "noprint" }, chip(`${t("filtered")}${t("colon")}${[state.tag, state.period].filter(Boolean).join(", ")}`), " ", h("button", { type: "button", class: "small", onclick: () => filter({ tag: "", period: "" }, false) }, t("clear")));
}

const SORTS = {
  size: (r) => abs(big(r.difference)), difference: (r) => big(r.difference), period: (r) => r.period, tag: (r) => r.billing_tag, account: (r) => r.account,
  status: (r) => named("s_", r.status), ours: (r) => big(r.ours_charged), bill: (r) => (r.provider_calls === null ? null : big(r.provider_calls)), cost: (r) => r.costDifference,
};
function compare(a, b) { return a === b ? 0 : a === null ? -1 : b === null ? 1 : a < b ? -1 : 1; }
function listed() {
  const text = state.text.trim().toLowerCase();
  const rows = ROWS.filter((r) => (state.status === "rows" || (state.status === "differences" ? r.shown : r.status === state.status)) && (!state.tag || r.billing_tag === state.tag) && (!state.period || r.period === state.period)
    && (!text || [r.billing_tag, r.billing_tag_code, r.period, r.account].some((x) => x.toLowerCase().includes(text)) || r.parts.some((p) => p.seqs.some((q) => q.toLowerCase().includes(text)))));
  const keys = rows.map(SORTS[state.sort.key]), places = rows.map((_, i) => i), turn = state.sort.down ? -1 : 1;
  places.sort((a, b) => turn * compare(keys[a], keys[b]) || (state.sort.key === "size" ? -compare(abs(rows[a].costDifference ?? 0n), abs(rows[b].costDifference ?? 0n)) : 0) || a - b);
  return places.map((i) => rows[i]);
}
const several = new Set(ROWS.map((r) => r.account)).size > 1;
function list() {
  const choose = (id, label, value, options, onchange) => h("label", {}, label, h("select", { id, onchange: (e) => onchange(e.target.value) }, options.map(([v, text]) => { const o = h("option", { value: v }, text); o.selected = v === value; return o; })));
  const present = [...new Set(ROWS.map((r) => r.status))];
  const rows = listed();
  const columns = [
    { key: "period", label: t("period"), by: true, cell: (r) => h("span", { class: "mono" }, r.period) }, { key: "tag", label: t("tag"), by: true, wrap: true, cell: (r) => r.billing_tag },
    several && { key: "account", label: t("account"), by: true, cell: (r) => r.account },
    { key: "status", label: t("status"), by: true, cell: statusChip },
    { key: "ours", label: t("ours_charged"), num: true, by: true, cell: (r) => count(r.ours_charged) }, { key: "bill", label: t("bill_calls"), num: true, by: true, cell: (r) => orDash(r.provider_calls) },
    { key: "difference", label: t("difference"), num: true, by: true, tone: (r) => direction(big(r.difference)), cell: (r) => signed(r.difference) },
    DATA.money && { key: "cost", label: t("cost_difference"), num: true, by: true, tone: (r) => direction(r.costDifference ?? 0n), cell: (r) => signedYuan(r.costDifference) },
  ].filter(Boolean);
  return section("list", t("list"), h("p", { class: "muted" }, t("list_sub")),
    h("div", { class: "filters" },
      choose("f-status", t("status"), state.status, [["differences", t("all_differences")], ["rows", t("all_rows")], ...present.map((x) => [x, named("s_", x)])], (v) => filter({ status: v }, false, "#f-status")),
      choose("f-tag", t("tag"), state.tag, [["", t("all")], ...TAGS.map((x) => [x, x])], (v) => filter({ tag: v }, false, "#f-tag")),
      choose("f-period", t("period"), state.period, [["", t("all")], ...PERIODS.map((x) => [x, x])], (v) => filter({ period: v }, false, "#f-period")),
      h("label", {}, t("search_text"), h("input", { type: "search", id: "f-text", value: state.text, autocomplete: "off", spellcheck: "false", oninput: (e) => later("text", () => { const at = e.target.selectionStart; filter({ text: e.target.value }, false); const box = document.getElementById("f-text"); box.focus(); box.setSelectionRange(at, at); }) })),
      h("button", { type: "button", id: "f-clear", onclick: () => filter({ status: "differences", tag: "", period: "", text: "" }, false, "#f-clear") }, t("clear"))),
    paged("list", rows, columns, { sort: state.sort, detail, empty: ROWS.some((r) => r.shown) || state.status !== "differences" ? t("no_match") : t("no_differences"),
      onsort: (key) => { state.sort = { key, down: state.sort.key === key ? !state.sort.down : key === "difference" || key === "cost" || key === "ours" || key === "bill" }; state.page.list = 0; update("list"); focusIn("list", `[data-sort="${key}"]`); } }));
}
function detail(row) {
  const fact = (label, value) => h("div", {}, h("dt", {}, label), h("dd", {}, value));
  return [h("dl", { class: "facts" }, fact(t("account"), row.account), fact(t("attempts"), count(row.ours_attempts)), fact(t("charged"), count(row.ours_charged)), fact(t("free"), count(row.ours_free)), fact(t("unknown"), count(row.ours_unknown)),
    fact(t("deducted"), usage(units(row.provider_deducted))), fact(t("billed"), usage(units(row.provider_billed))), DATA.money && fact(t("expected_cost"), yuan(row.expected)), fact(t("bill_cost"), yuan(row.cost))),
    h("h3", {}, t("parts")), row.parts.length ? row.parts.map((p) => part(p, row)) : h("p", { class: "muted" }, t(onlyMoney(row) ? "no_parts_money" : "no_parts")),
    row.lines.length > 0 && [h("h3", {}, t("bill_lines")), texts(row.lines, null)]];
}
function part(p) {
  return h("div", { class: "part", "data-part": p.kind }, h("div", { class: "head" }, h("b", { class: direction(big(p.count)) }, signed(p.count)), h("span", {}, named("p_", p.kind)), p.seqs_total > 0 && h("span", { class: "muted" }, t("seqs_n", { n: count(p.seqs_total) })),
    p.seqs.length > 1 && copyButton(t("copy_seqs", { n: count(p.seqs.length) }), () => p.seqs.join("\n"))),
    note(p), p.seqs.length > 0 && texts(p.seqs, seqTools),
    !(p.kind === "duplicate" && p.count === 0) && p.seqs.length > 0 && p.seqs_total > p.seqs.length && h("p", { class: "muted" }, t("seqs_cut", { a: count(p.seqs.length), n: count(p.seqs_total) })),
    p.source_keys.length > 0 && [h("span", { class: "muted" }, t("objects")), texts(p.source_keys, null)]);
}
// What is to be known of a part. One of count 0 takes nothing of the difference; some have no Seqs.
function note(p) {
  const key = p.kind === "duplicate" && p.count === 0 ? "note_again" : p.count === 0 ? "note_maybe" : p.kind === "reject" ? "note_reject" : p.seqs_total > Math.abs(p.count) ? "more_than" : null;
  return key && h("p", { class: "muted" }, t(key));
}
// Some of a list of texts, and more when asked for.
function texts(items, tools) {
  const list = h("ul", { class: "seqs" }), more = h("button", { type: "button", class: "small" });
  let shown = 0;
  const grow = (by) => {
    for (const item of items.slice(shown, shown + by)) list.append(h("li", {}, h("span", { class: "mono" }, item), tools && tools(item)));
    shown = Math.min(shown + by, items.length);
    more.hidden = shown >= items.length; more.textContent = t("show_more", { n: count(Math.min(200, items.length - shown)) });
  };
  more.addEventListener("click", () => grow(200)); grow(state.printing ? 100 : 10);
  return [list, more];
}
function seqTools(seq) {
  return [copyButton(t("copy"), () => seq), h("button", { type: "button", class: "small", "aria-expanded": "false", onclick: (e) => {
    const button = e.currentTarget, item = button.parentNode, open = item.nextElementSibling?.dataset.explain === seq;
    if (open) item.nextElementSibling.remove();
    else item.after(h(item.tagName === "LI" ? "li" : "div", { "data-explain": seq }, explained(seq)));
    button.setAttribute("aria-expanded", String(!open));
  } }, t("explain"))];
}
const explained = (seq) => h("div", {}, h("span", { class: "muted" }, t("explain_hint")), h("code", { class: "cmd mono" }, explainCommand(seq)), copyButton(t("copy_command"), () => explainCommand(seq)));

// Every Seq in the report and where it stands; made when first searched.
let index = null;
function seqIndex() {
  if (index) return index;
  index = [];
  for (const r of ROWS) for (const p of r.parts) for (const q of p.seqs) index.push({ seq: q, low: q.toLowerCase(), where: "where_part", row: r, part: p });
  for (const d of DATA.seqs?.differences ?? []) index.push({ seq: d.seq, low: d.seq.toLowerCase(), where: "where_join", join: d });
  for (const f of DATA.audit?.findings ?? []) index.push({ seq: f.seq, low: f.seq.toLowerCase(), where: "where_audit", finding: f });
  return index;
}
const FOUND_MAX = 100;
function seqsearch() {
  return section("seqsearch", t("seqsearch"), h("p", { class: "muted" }, t("seqsearch_sub")),
    h("div", { class: "filters" }, h("label", {}, t("seqsearch_label"), h("input", { type: "search", id: "q-seq", value: state.seq, class: "mono wide", autocomplete: "off", spellcheck: "false", oninput: (e) => later("seq", () => { state.seq = e.target.value; results(); }) }))),
    h("div", { id: "found" }, foundSeqs()));
}
function results() { document.getElementById("found").replaceChildren(...[foundSeqs()].flat(Infinity).filter(Boolean)); }
function foundSeqs() {
  const text = state.seq.trim().toLowerCase();
  if (!text) return [];
  const hits = []; let n = 0;
  for (const x of seqIndex()) if (x.low.includes(text)) { n++; if (hits.length < FOUND_MAX) hits.push(x); }
  const said = !n ? t("found_none") : n > FOUND_MAX ? t("found_more", { n: count(n), m: FOUND_MAX }) : t("found", { n: count(n) });
  say(said);
  if (!n) return [empty(said), text.length > 3 && explained(state.seq.trim())];
  const what = (x) => x.row ? [`${x.row.period}, ${x.row.billing_tag}${t("colon")}`, named("p_", x.part.kind), " ", h("button", { type: "button", class: "small", onclick: () => { state.open.add(x.row.index); filter({ status: x.row.differs ? "differences" : "rows", tag: x.row.billing_tag, period: x.row.period, text: "" }, true); } }, t("show"))]
    : x.join ? `${named("q_", x.join.status)}, ${x.join.ours_day ?? x.join.provider_day ?? ""}` : `${x.finding.usage_date}, ${x.finding.billing_tag}, ${t("code")} ${x.finding.errcode}`;
  return [h("p", {}, said), scroll(t("seqsearch"), h("table", {}, h("thead", {}, h("tr", {}, ["Seq", t("where"), t("what")].map((x) => h("th", { scope: "col" }, x)))),
    h("tbody", {}, hits.map((x) => h("tr", {}, h("td", { class: "mono wrap" }, x.seq, h("div", {}, seqTools(x.seq))), h("td", {}, t(x.where)), h("td", {}, what(x)))))))];
}

const flag = (value) => (value === null || value === undefined ? "–" : value ? t("yes") : t("no"));
function join() {
  const j = DATA.seqs;
  if (!j) return section("join", t("join"), empty(t("no_join")));
  const card = (k) => h("div", { class: "card" }, h("div", { class: "n", "data-n": k }, count(j[k])), h("div", { class: "l" }, named("q_", k)));
  const differing = j.groups.filter((g) => g.status !== "agree"), rules = [...new Set(differing.map((g) => g.rule_id))].sort(), cells = new Map();
  for (const g of differing) { const key = JSON.stringify([g.rule_id, g.hour]); if (!cells.has(key)) cells.set(key, []); cells.get(key).push(g); }
  const totals = [...cells.values()].map((c) => sum(c, (g) => big(g.count))), most = totals.reduce((m, n) => (n > m ? n : m), 0n);
  const level = (n) => (n * 2n > most ? 4 : n * 8n > most ? 3 : n * 32n > most ? 2 : 1);
  const rows = j.differences.filter((d) => (!state.joinStatus || d.status === state.joinStatus) && (state.joinHour === null || (d.hour === state.joinHour && d.rule_id === state.joinRule)));
  const statuses = [...new Set(j.differences.map((d) => d.status))];
  const cell = (rule, hour) => {
    const group = cells.get(JSON.stringify([rule, hour]));
    if (!group) return h("td", {});
    const n = sum(group, (g) => big(g.count)), on = state.joinHour === hour && state.joinRule === rule;
    const said = group.map((g) => `${named("q_", g.status)} ${count(g.count)}`).join(", ");
    return h("td", {}, withTip(h("button", { type: "button", class: "more" + level(n), "data-group": true, "data-count": n, "aria-pressed": String(on), "aria-label": `${rule ?? t("no_rule")}, ${hour}:00${t("colon")}${said}`,
      onclick: () => { state.joinHour = on ? null : hour; state.joinRule = on ? null : rule; state.page.join = 0; update("join"); } }, short(n).slice(1)), () => [h("b", {}, `${rule ?? t("no_rule")}, ${String(hour).padStart(2, "0")}:00`), said]));
  };
  const hours = Array.from({ length: 24 }, (_, i) => i);
  return section("join", t("join"), h("p", { class: "muted" }, t("join_sub")), h("div", { class: "cards" }, ["agree", "flag_differs", "day_differs", "ours_only", "provider_only"].map(card)),
    rules.length > 0 && [h("h3", {}, t("join_groups")), scroll(t("join_groups"), h("table", { class: "heat" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, h("span", { class: "sr" }, t("rule"))), hours.map((x) => h("th", { scope: "col" }, String(x).padStart(2, "0"))))),
      h("tbody", {}, rules.map((r) => h("tr", {}, h("th", { scope: "row" }, r ?? t("no_rule")), hours.map((x) => cell(r, x)))))))],
    h("div", { class: "filters" }, h("label", {}, t("status"), h("select", { id: "j-status", onchange: (e) => { state.joinStatus = e.target.value; state.page.join = 0; update("join"); focusIn("join", "#j-status"); } }, [["", t("all")], ...statuses.map((x) => [x, named("q_", x)])].map(([v, text]) => { const o = h("option", { value: v }, text); o.selected = v === state.joinStatus; return o; }))),
      (state.joinHour !== null) && h("button", { type: "button", onclick: () => { state.joinHour = state.joinRule = null; update("join"); } }, t("clear")),
      rows.length > 0 && copyButton(t("copy_seqs", { n: count(rows.length) }), () => rows.map((d) => d.seq).join("\n"))),
    paged("join", rows, [
      { label: "Seq", wrap: true, cell: (d) => [h("span", { class: "mono" }, d.seq), h("div", { class: "noprint" }, seqTools(d.seq))] }, { label: t("status"), cell: (d) => chip(named("q_", d.status), "bad") },
      { label: t("our_day"), day: true, cell: (d) => d.ours_day ?? "–" }, { label: t("provider_day"), day: true, cell: (d) => d.provider_day ?? "–" }, { label: t("our_charge"), cell: (d) => flag(d.ours_charge) }, { label: t("provider_charge"), cell: (d) => flag(d.provider_charge) },
      { label: t("tag"), wrap: true, cell: (d) => d.billing_tag ?? "–" }, { label: t("rule"), day: true, cell: (d) => d.rule_id ?? "–" }, { label: t("hour"), num: true, cell: (d) => d.hour },
      { label: t("source"), wrap: true, cell: (d) => h("span", { class: "mono" }, d.source_key ? `${d.source_key} #${d.source_record ?? 0}` : d.provider_file ? `${d.provider_file} #${d.provider_row ?? 0}` : "–") }], { empty: j.differences.length ? t("no_match") : t("no_differences") }),
    j.differences_total > j.differences.length && h("p", { class: "muted" }, t("cut", { a: count(j.differences.length), n: count(j.differences_total), t: "seq_difference" })));
}

function audit() {
  const a = DATA.audit;
  if (!a) return section("audit", t("audit"), empty(t("no_audit")));
  const card = (id, label, value) => h("div", { class: "card" }, h("div", { class: "n", "data-n": id }, value), h("div", { class: "l" }, label));
  return section("audit", t("audit"), h("p", { class: "muted" }, t("audit_sub")), h("div", { class: "cards" }, card("checked", t("checked"), count(a.checked)), card("charged_against_rule", t("charged_against"), count(a.charged_against_rule)), card("free_against_rule", t("free_against"), count(a.free_against_rule)),
    card("no_table", t("no_table"), count(a.no_table)), card("not_listed", t("not_listed"), count(a.not_listed)), card("unknown_flag", t("flag_unknown"), count(a.unknown_flag)), a.overcharge !== null && card("overcharge", t("overcharge"), yuan(units(a.overcharge)))),
    a.overcharge !== null && h("p", { class: "muted", id: "overcharge-note" }, t("overcharge_note")),
    a.overcharge_unpriced > 0 && DATA.money && h("p", { class: "muted", id: "overcharge-unpriced" }, t("overcharge_unpriced", { n: count(a.overcharge_unpriced) })),
    a.findings.length > 0 && copyButton(t("copy_seqs", { n: count(a.findings.length) }), () => a.findings.map((f) => f.seq).join("\n")),
    paged("audit", a.findings, [{ label: "Seq", wrap: true, cell: (f) => [h("span", { class: "mono" }, f.seq), h("div", { class: "noprint" }, seqTools(f.seq))] }, { label: t("period"), cell: (f) => f.usage_date }, { label: t("tag"), wrap: true, cell: (f) => f.billing_tag }, { label: t("code"), num: true, cell: (f) => String(f.errcode) },
      { label: t("is_need_charge"), cell: (f) => chip(flag(f.is_need_charge), f.is_need_charge ? "bad" : "") }, { label: t("published"), cell: (f) => flag(f.published_charge) }, { label: t("edition"), wrap: true, cell: (f) => f.edition }, { label: t("from"), cell: (f) => f.rule_from }, { label: t("money_yuan"), num: true, cell: (f) => yuan(units(f.money)) }], { empty: t("no_findings") }),
    a.findings_total > a.findings.length && h("p", { class: "muted" }, t("cut", { a: count(a.findings.length), n: count(a.findings_total), t: "audit" })));
}

function bill() {
  const b = DATA.bill;
  return section("bill", t("bill"), h("p", { class: "muted" }, t("bill_sub")), b.warnings.map((x) => h("p", { class: "warn" }, warning(x))),
    h("div", { class: "cards" }, [["lines", b.lines], ["other_products", b.lines_other_products], ["rejects", b.rejects_total]].map(([k, n]) => h("div", { class: "card" }, h("div", { class: "n", "data-n": "bill_" + k }, count(n)), h("div", { class: "l" }, t(k))))),
    b.files.length ? scroll(t("file"), h("table", { id: "files" }, h("thead", {}, h("tr", {}, ["file", "kind", "encoding"].map((k) => h("th", { scope: "col" }, t(k))), ["rows", "lines", "other_products", "rejects"].map((k) => h("th", { scope: "col", class: "num" }, t(k))), h("th", { scope: "col" }, t("status")))),
      h("tbody", {}, b.files.slice(0, 1000).map((f) => h("tr", {}, h("td", { class: "mono wrap" }, f.name), h("td", { class: "mono" }, f.kind), h("td", { class: "mono" }, f.encoding), [f.rows, f.lines, f.lines_other_products, f.rejects].map((n) => h("td", { class: "num" }, count(n))), h("td", { class: "wrap" }, f.replaced_by ? t("replaced_by", { f: f.replaced_by }) : chip(t("counts"), "good"))))))) : empty(t("no_files")),
    b.rejects.length > 0 && [h("h3", {}, t("rejects")), paged("bill", b.rejects, [{ label: t("file"), wrap: true, cell: (r) => h("span", { class: "mono" }, r.file) }, { label: t("row"), num: true, cell: (r) => count(r.row) }, { label: t("column"), cell: (r) => r.column }, { label: t("reason"), cell: (r) => h("span", { class: "mono" }, r.reason) }, { label: t("message"), wrap: true, cell: (r) => r.message }], { label: t("rejects") }),
      b.rejects_total > b.rejects.length && h("p", { class: "muted" }, t("cut", { a: count(b.rejects.length), n: count(b.rejects_total), t: "rejects" }))]);
}

// ---- the page ----------------------------------------------------------------------------------------------------

const SECTIONS = { overview, charges, heat, money, list, seqsearch, join, audit, bill };
function update(...ids) { hideTip(); for (const id of ids) document.getElementById(id).replaceWith(SECTIONS[id]()); }
// One filter for charts, waterfall and list.
function filter(change, jump, focus) {
  const before = [state.tag, state.period].join("\n");
  const scrolled = [...document.querySelectorAll("#charges .scroll, #heat .scroll")].map((x) => x.scrollLeft);
  Object.assign(state, change); state.page.list = 0;
  update(...(before === [state.tag, state.period].join("\n") ? ["list"] : ["charges", "heat", "money", "list"]));
  [...document.querySelectorAll("#charges .scroll, #heat .scroll")].forEach((x, i) => { x.scrollLeft = scrolled[i] ?? 0; });
  if (jump) { document.getElementById("list").scrollIntoView(); focusIn("list", "#f-status"); }
  else if (focus) document.querySelector(focus)?.focus({ preventScroll: true });
  say(t("page_of", { a: 1, b: count(Math.min(PAGE, listed().length)), n: count(listed().length) }));
}
const timers = {};
function later(name, work) { clearTimeout(timers[name]); timers[name] = setTimeout(work, 150); }
function render(focus) {
  document.documentElement.lang = state.lang === "zh" ? "zh-CN" : "en";
  document.title = `${t("title")} · ${DATA.account} · ${DATA.months.join(", ")}`;
  state.theme === "auto" ? delete document.documentElement.dataset.theme : (document.documentElement.dataset.theme = state.theme);
  hideTip();
  document.getElementById("app").replaceChildren(
    h("header", { class: "bar" }, h("h1", {}, t("title")), h("nav", { "aria-label": t("title") }, Object.keys(SECTIONS).map((id) => h("a", { href: "#" + id }, t(id)))),
      h("div", { class: "tools" }, h("button", { type: "button", id: "theme", onclick: () => { state.theme = { auto: "light", light: "dark", dark: "auto" }[state.theme]; render("#theme"); } }, t("theme_" + state.theme)),
        h("button", { type: "button", id: "language", lang: state.lang === "zh" ? "en" : "zh-CN", onclick: () => { state.lang = state.lang === "zh" ? "en" : "zh"; render("#language"); } }, t("language")),
        h("button", { type: "button", id: "print", onclick: () => print() }, t("print")))),
    h("main", {}, Object.values(SECTIONS).map((make) => make())), h("footer", {}, t("footer")), tip, live);
  if (focus) document.querySelector(focus)?.focus({ preventScroll: true });
}
// Printed, lists are unfolded and charts fit the paper.
function printing(on) { if (state.printing !== on) { state.printing = on; render(); } }
addEventListener("beforeprint", () => printing(true));
addEventListener("afterprint", () => printing(false));
matchMedia("print").addEventListener("change", (e) => printing(e.matches));
render();
})();
