"""What is written comes out as a person reads it aloud, and no number is lost or changed."""

from __future__ import annotations

import importlib.resources
import re
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from medbot_llm.domain import Language
from medbot_llm.speech.number_words import number_in_words
from medbot_llm.speech.spoken_form import spoken_form
from medbot_llm.text.normal import canonical
from medbot_llm.text.normal import chinese_value
from medbot_llm.text.normal import with_digits

TAIWAN = [
    ("1 顆", "一顆"),
    ("2 顆", "兩顆"),
    ("12 顆", "十二顆"),
    ("20 顆", "二十顆"),
    ("22 顆", "二十二顆"),
    ("102 顆", "一百零二顆"),
    ("110 次", "一百一十次"),
    ("115 天", "一百一十五天"),
    ("200 毫升", "兩百毫升"),
    ("222 顆", "兩百二十二顆"),
    ("1000 單位", "一千單位"),
    ("1,000 單位", "一千單位"),
    ("2000 單位", "兩千單位"),
    ("2,250 mL", "兩千兩百五十毫升"),
    ("10000 單位", "一萬單位"),
    ("10,050 單位", "一萬零五十單位"),
    ("12000 單位", "一萬兩千單位"),
    ("20000 單位", "兩萬單位"),
    ("100,000 單位", "十萬單位"),
    ("1000000 單位", "一百萬單位"),
    ("3 萬單位", "三萬單位"),
    ("2 萬單位", "兩萬單位"),
    ("1.5 萬單位", "一點五萬單位"),
    ("0.5 mg", "零點五毫克"),
    (".5 mg", "零點五毫克"),
    ("0.50 mg", "零點五零毫克"),
    ("0.05 mg", "零點零五毫克"),
    ("2.5 mg", "二點五毫克"),
    ("10.25 mg", "十點二五毫克"),
    ("1.005 g", "一點零零五公克"),
    ("0,5 mg", "零點五毫克"),
    ("5.0 mg", "五點零毫克"),
    ("100 mg", "一百毫克"),
    ("100mg", "一百毫克"),
    ("5 mcg", "五微克"),
    ("5 µg", "五微克"),
    ("5 μg", "五微克"),
    ("5 ug", "五微克"),
    ("1 g", "一公克"),
    ("2 gm", "兩公克"),
    ("70 kg", "七十公斤"),
    ("5 mL", "五毫升"),
    ("5 ml", "五毫升"),
    ("5 cc", "五西西"),
    ("2 L", "兩公升"),
    ("100 dL", "一百分升"),
    ("5 IU", "五國際單位"),
    ("10 U", "十單位"),
    ("10 units", "十單位"),
    ("20 mEq", "二十毫當量"),
    ("5.5 mmol/L", "每公升五點五毫莫耳"),
    ("100 mg/dL", "每分升一百毫克"),
    ("13 cmH2O", "十三公分水柱"),
    ("38.5°C", "攝氏三十八點五度"),
    ("38.5 °C", "攝氏三十八點五度"),
    ("38.5℃", "攝氏三十八點五度"),
    ("-5 °C", "攝氏零下五度"),
    ("2-8 °C", "攝氏二到八度"),
    ("攝氏 37 度", "攝氏三十七度"),
    ("98.6 °F", "華氏九十八點六度"),
    ("5%", "百分之五"),
    ("0.9% 生理食鹽水", "百分之零點九生理食鹽水"),
    ("5-10%", "百分之五到十"),
    ("100%", "百分之百"),
    ("10 mg/kg/day", "每天每公斤十毫克"),
    ("10–15 mg/kg/day", "每天每公斤十到十五毫克"),
    ("15 mg/kg", "每公斤十五毫克"),
    ("250 mg/5 mL", "每五毫升兩百五十毫克"),
    ("5 mg/mL", "每毫升五毫克"),
    ("100 mL/h", "每小時一百毫升"),
    ("25 mcg/h", "每小時二十五微克"),
    ("3 L/min", "每分鐘三公升"),
    ("100 單位/毫升", "每毫升一百單位"),
    ("3 次/天", "每天三次"),
    ("1-2 顆/次", "每次一到兩顆"),
    ("72 次/分", "每分鐘七十二次"),
    ("72 bpm", "每分鐘七十二下"),
    ("50 mg/m2", "每平方公尺五十毫克"),
    ("以 mg 計算", "以毫克計算"),
    ("mg/kg", "毫克每公斤"),
    ("5 mg/80 mg", "五毫克，八十毫克"),
    ("400/80 mg", "四百毫克，八十毫克"),
    ("5/160/12.5 mg", "五毫克，一百六十毫克，十二點五毫克"),
    ("2.5/500 mg", "二點五毫克，五百毫克"),
    ("1-2 顆", "一到兩顆"),
    ("2-3 次", "兩到三次"),
    ("1~2 顆", "一到兩顆"),
    ("1～2 顆", "一到兩顆"),
    ("10–15 分鐘", "十到十五分鐘"),
    ("500-1000 mg", "五百到一千毫克"),
    ("5 mg-10 mg", "五毫克到十毫克"),
    ("5-3", "五，三"),
    ("1-0-1", "一，零，一"),
    ("1/2 錠", "半錠"),
    ("1/2 顆", "半顆"),
    ("半顆", "半顆"),
    ("½ 顆", "半顆"),
    ("1½ 錠", "一錠半"),
    ("1 1/2 顆", "一顆半"),
    ("2又1/2 顆", "兩顆半"),
    ("1/4 錠", "四分之一錠"),
    ("3/4 顆", "四分之三顆"),
    ("1 1/4 顆", "一又四分之一顆"),
    ("½", "二分之一"),
    ("1/2", "二分之一"),
    ("1/2 tablet", "半顆"),
    ("11/26", "十一月二十六日"),
    ("11/26 回診", "十一月二十六日回診"),
    ("11/26（四）回診", "十一月二十六日星期四，回診"),
    ("在 1/2 回診", "在一月二日回診"),
    ("2026-11-26", "二零二六年十一月二十六日"),
    ("2026/11/26", "二零二六年十一月二十六日"),
    ("2026.11.26", "二零二六年十一月二十六日"),
    ("2026 年 11 月 26 日", "二零二六年十一月二十六日"),
    ("11月26日", "十一月二十六日"),
    ("民國 115 年", "民國一百一十五年"),
    ("115/11/26", "一百一十五年十一月二十六日"),
    ("Nov 26", "十一月二十六日"),
    ("26 Nov 2026", "二零二六年十一月二十六日"),
    ("2026-11-26T08:00", "二零二六年十一月二十六日，早上八點"),
    ("08:00", "早上八點"),
    ("8:00", "八點"),
    ("8:05", "八點零五分"),
    ("08:30", "早上八點半"),
    ("20:30", "晚上八點半"),
    ("12:00", "中午十二點"),
    ("12:30", "十二點半"),
    ("00:00", "午夜十二點"),
    ("00:30", "午夜十二點半"),
    ("14:05", "下午兩點零五分"),
    ("23:59", "晚上十一點五十九分"),
    ("8:00 AM", "早上八點"),
    ("8 am", "早上八點"),
    ("8:30 PM", "晚上八點半"),
    ("12 am", "午夜十二點"),
    ("PM 8:00", "晚上八點"),
    ("晚上 8:00", "晚上八點"),
    ("下午 14:30", "下午兩點半"),
    ("早上 8:00 1 顆", "早上八點，一顆"),
    ("8 點 1 顆", "八點，一顆"),
    ("8 點一顆", "八點，一顆"),
    ("8 點 5 分", "八點五分"),
    ("8 點半", "八點半"),
    ("8:00-10:00", "八點到十點"),
    ("08:00~20:30", "早上八點到晚上八點半"),
    ("9-11 am", "早上九點到十一點"),
    ("13:05:20", "下午一點零五分二十秒"),
    ("１２：３０", "十二點半"),
    ("請撥 119", "請撥一一九"),
    ("119", "一一九"),
    ("打 110 報警", "打一一零報警"),
    ("打 1925", "打一九二五"),
    ("1925", "一九二五"),
    ("撥打 120 或 119", "撥打一二零或一一九"),
    ("電話 0800-788-995", "電話零八零零，七八八，九九五"),
    ("電話：(02) 2345-6789", "電話：零二，二三四五，六七八九"),
    ("0912-345-678", "零九一二，三四五，六七八"),
    ("分機 3021", "分機三零二一"),
    ("+886-2-2345-6789", "加八八六，二，二三四五，六七八九"),
    ("手機 13800138000", "手機一三八零零一三八零零零"),
    ("血糖 119", "血糖一百一十九"),
    ("血壓 120/80", "血壓一百二十，八十"),
    ("血壓 120/80 mmHg", "血壓一百二十，八十毫米汞柱"),
    ("BP120/80", "B P一百二十，八十"),
    ("心跳 110 次", "心跳一百一十次"),
    ("SpO2 98%", "S P O二，百分之九十八"),
    ("512 房", "五一二房"),
    ("512 號房", "五一二號房"),
    ("病房 512", "病房五一二"),
    ("12 床", "十二床"),
    ("512-1 床", "五一二之一床"),
    ("5A 病房", "五A 病房"),
    ("5A-12 床", "五A之十二床"),
    ("3 樓", "三樓"),
    ("病歷號 1234567", "病歷號一二三四五六七"),
    ("領藥號 35", "領藥號三十五"),
    ("領藥碼 0042", "領藥碼零零四二"),
    ("65 歲", "六十五歲"),
    ("65 y/o", "六十五歲"),
    ("第 2 天", "第二天"),
    ("第 1 次", "第一次"),
    ("1st", "第一"),
    ("2nd", "第二"),
    ("x3 days", "共三天"),
    ("x 7d", "共七天"),
    ("2 × 500 mg", "二乘以五百毫克"),
    ("5*3", "五乘以三"),
    ("≥ 65 歲", "大於或等於六十五歲"),
    (">= 65 歲", "大於或等於六十五歲"),
    ("≤ 5 mg", "小於或等於五毫克"),
    ("< 5 mg", "小於五毫克"),
    ("> 38 度", "大於三十八度"),
    ("± 5", "正負五"),
    ("−0,5 kg", "負零點五公斤"),
    ("−2 1/2 kg", "負二又二分之一公斤"),
    ("−1/2 kg", "負半公斤"),
    ("+/- 5", "正負五"),
    ("A+B", "A加B"),
    ("藥&水", "藥和水"),
    ("早/晚", "早、晚"),
    ("5 → 10 mg", "五，十毫克"),
    ("血壓↑", "血壓升高"),
    ("1# TID", "一顆，一天三次"),
    ("#3", "三號"),
    ("（每天 1 顆）", "每天一顆"),
    ("每天（飯後）吃", "每天，飯後，吃"),
    ("[注意] 不要喝酒", "注意，不要喝酒"),
    ("e.g. 阿斯匹靈", "例如阿斯匹靈"),
    ("Dr. 王", "王醫師"),
    ("藥物 etc.", "藥物等等"),
    ("COVID-19", "COVID 十九"),
    ("維生素 B12", "維生素 B十二"),
    ("Vitamin K2", "Vitamin K二"),
    ("Vitamin D3 1000 IU", "Vitamin D三，一千國際單位"),
    ("Q10", "Q十"),
    ("CoQ10 100 mg", "CoQ十，一百毫克"),
    ("Omega-3", "Omega 三"),
    ("GLP-1", "G L P 一"),
    ("SGLT2 抑制劑", "S G L T二抑制劑"),
    ("H1N1", "H一N一"),
    ("HbA1c 7.2%", "H B A一C 百分之七點二"),
    ("L3", "L三"),
    ("5-FU", "五 F U"),
    ("CT", "C T"),
    ("做 MRI 檢查", "做 M R I 檢查"),
    ("住 ICU", "住 I C U"),
    ("NSAID", "N S A I D"),
    ("COPD", "C O P D"),
    ("OK", "OK"),
    ("HLA-B27", "H L A B二十七"),
    ("E11.9", "E一一點九"),
    ("A123", "A一二三"),
    ("Amlodipine", "Amlodipine"),
    ("PANADOL", "PANADOL"),
    ("Amlodipine 5 mg", "Amlodipine 五毫克"),
    ("Panadol500mg", "Panadol五百毫克"),
    ("Lipitor-20mg", "Lipitor 二十毫克"),
    ("2 型糖尿病", "二型糖尿病"),
    ("II 型糖尿病", "二型糖尿病"),
    ("第 III 期", "第三期"),
    ("IV 級", "四級"),
    ("QD", "一天一次"),
    ("BID", "一天兩次"),
    ("TID", "一天三次"),
    ("QID", "一天四次"),
    ("QOD", "隔天一次"),
    ("QW", "每週一次"),
    ("QN", "每晚"),
    ("QHS", "每晚睡前"),
    ("qAM", "每天早上"),
    ("Q6H", "每六小時一次"),
    ("q8h", "每八小時一次"),
    ("Q4-6H", "每四到六小時一次"),
    ("Q12H", "每十二小時一次"),
    ("Q2D", "每兩天一次"),
    ("Q2W", "每兩週一次"),
    ("Q3M", "每三個月一次"),
    ("QW135", "每週一、三、五"),
    ("PRN", "需要時"),
    ("STAT", "立即"),
    ("1 顆 PO BID PC", "一顆，口服，一天兩次，飯後"),
    ("1 顆 BIDPC", "一顆，一天兩次，飯後"),
    ("1 顆 TIDACHS", "一顆，一天三次，飯前，睡前"),
    ("5 mg HS", "五毫克，睡前"),
    ("5 mg hs", "五毫克，睡前"),
    ("10 U SC AC", "十單位，皮下注射，飯前"),
    ("1 g IV Q8H", "一公克，靜脈注射，每八小時一次"),
    ("50 mg IM STAT", "五十毫克，肌肉注射，立即"),
    ("1 顆 SL PRN", "一顆，含在舌下，需要時"),
    ("1 顆 PR", "一顆，塞肛門"),
    ("眼藥水 1 滴 OD", "眼藥水一滴，右眼"),
    ("1 tab OD", "一顆，一天一次"),
    ("1 滴 OU", "一滴，雙眼"),
    ("p.o. b.i.d.", "口服，一天兩次"),
    ("2 tablets", "兩顆"),
    ("1 capsule", "一顆膠囊"),
    ("2 puffs", "兩噴"),
    ("1 drop", "一滴"),
    ("1 天 3 次", "一天三次"),
    ("每 2 天 1 次", "每兩天一次"),
    ("每 8 小時 1 次", "每八小時一次"),
    ("2 週", "兩週"),
    ("2 個月", "兩個月"),
    ("2 月", "二月"),
    ("2 年", "兩年"),
    ("2 公斤", "兩公斤"),
    ("2%", "百分之二"),
    ("22 度", "二十二度"),
    ("服用 2 顆 5 mg", "服用兩顆五毫克"),
    ("5 10", "五，十"),
    ("一 2 顆", "一，兩顆"),
    ("週三 2 顆", "週三，兩顆"),
    ("5 mg 半顆", "五毫克，半顆"),
    ("5 mg 一天 2 次", "五毫克，一天兩次"),
    ("星期 2", "星期二"),
    ("１２ 顆", "十二顆"),
    ("５ｍｇ", "五毫克"),
    ("５．５ 度", "五點五度"),
    ("5\u200b00 mg", "五百毫克"),
    ("吃藥 😊 2 顆", "吃藥兩顆"),
    ("5😀10", "五，十"),
    ("1\ufe0f\u20e3 早上", "一，早上"),
    ("① 早上 ② 晚上", "一，早上，二，晚上"),
    ("• 早上 1 顆", "早上一顆"),
    ("1. 早上 1 顆", "一，早上一顆"),
    ("請看 https://a.org/x?y=1。", "請看網址。"),
    ("寄到 a@b.com", "寄到電子郵件地址"),
    ("$100", "一百元"),
    ("NT$300", "三百元"),
    ("1:1000", "一比一千"),
    ("稀釋 1:10", "稀釋一比十"),
    ("10^9", "十的九次方"),
    ("10⁹", "十的九次方"),
    ("007", "零零七"),
    ("1.2.3", "一點二點三"),
    ("123456789012345678", "一二三四五六七八九零一二三四五六七八"),
    ("疼痛 5/10", "疼痛五分，滿分十分"),
    ("疼痛指數 7 分", "疼痛指數七分"),
    ("好的～", "好的"),
    ("等一下——好", "等一下，好"),
    ("約翰·史密斯", "約翰，史密斯"),
    ("二十顆", "二十顆"),
    ("一天三次", "一天三次"),
    ("請按時吃藥，不要漏掉。", "請按時吃藥，不要漏掉。"),
    ("您好，我是送藥機器人。", "您好，我是送藥機器人。"),
    ("HLA-B27 檢查", "H L A B二十七檢查"),
    ("血糖 <70 mg/dL 或 >300 mg/dL", "血糖小於每分升七十毫克或大於每分升三百毫克"),
    ("每日不超過 4,000 mg", "每日不超過四千毫克"),
    ("1日2次", "一日兩次"),
    ("每日 1 錠", "每日一錠"),
    ("第 1-3 天", "第一到三天"),
    ("2 號櫃台", "二號櫃台"),
    ("電話：02-2345-6789 轉 123", "電話：零二，二三四五，六七八九，轉一百二十三"),
    ("119 或 1925", "一一九或一九二五"),
    ("eGFR 60 mL/min/1.73 m2", "E G F R 每一點七三平方公尺每分鐘六十毫升"),
    ("T 38.5 P 110 R 20 BP 120/80", "T 三十八點五 P 一百一十 R 二十 B P 一百二十，八十"),
    ("1000 mL N/S", "一千毫升 N S"),
    ("1 amp IV", "一支，靜脈注射"),
    ("IV 管路", "I V 管路"),
    ("10mg/tab", "每顆十毫克"),
    ("每天最多 8 顆(4 g)", "每天最多八顆，四公克"),
    ("不是 5 mg，是 50 mg！", "不是五毫克，是五十毫克！"),
    ("脈優錠 5 mg/錠", "脈優錠每錠五毫克"),
    (
        "您的藥是 Metformin 500 mg，每次 1 顆，每天 2 次，飯後吃。",
        "您的藥是 Metformin 五百毫克，每次一顆，每天兩次，飯後吃。",
    ),
    ("pH 7.35", "P H 七點三五"),
    ("O2 2 L/min", "O二，每分鐘兩公升"),
    ("B 床", "B 床"),
    ("1-2 顆 TID-QID", "一到兩顆，一天三次到一天四次"),
    ("葡萄糖-6-磷酸", "葡萄糖六磷酸"),
    ("100mg*28", "一百毫克乘以二十八"),
    ("下次回診 12/3（三）上午 9:30", "下次回診十二月三日星期三，上午九點半"),
    ("5%D/W 1000 mL", "百分之五D W 一千毫升"),
    ("早 1 晚 2", "早一晚二"),
    ("1. Metformin 500 mg\n2. Amlodipine 5 mg", "一，Metformin 五百毫克\n二，Amlodipine 五毫克"),
    ("10 mg × 1 顆", "十毫克乘以一顆"),
    ("經 CYP3A4 代謝", "經 C Y P三A四代謝"),
    ("維生素B6", "維生素B六"),
    ("1-1/2 錠", "一錠半"),
    ("1/2-1 顆", "二分之一到一顆"),
    ("U-100", "U 一百"),
    ("1/4 到 1/2 顆", "四分之一到半顆"),
    ("1/2 顆 BID", "半顆，一天兩次"),
    ("0.1-0.2 mg", "零點一到零點二毫克"),
    ("100mcg/h q72h", "每小時一百微克，每七十二小時一次"),
    ("5 mg / 10 mg", "五毫克，十毫克"),
    ("1 顆或 2 顆", "一顆或兩顆"),
]
MAINLAND = [
    ("2 颗", "两颗"),
    ("2 片", "两片"),
    ("2200 单位", "两千二百单位"),
    ("20000 单位", "两万单位"),
    ("100 mg", "一百毫克"),
    ("1 g", "一克"),
    ("2 L", "两升"),
    ("5 cc", "五毫升"),
    ("5.5 mmol/L", "每升五点五毫摩尔"),
    ("100 mg/dL", "每分升一百毫克"),
    ("20 mEq", "二十毫当量"),
    ("10 cm", "十厘米"),
    ("38.5 °C", "摄氏三十八点五度"),
    ("250 mg/5 mL", "每五毫升两百五十毫克"),
    ("60 次/分", "每分钟六十次"),
    ("1-2 片", "一到两片"),
    ("1/2 片", "半片"),
    ("1 1/2 片", "一片半"),
    ("1/4 片", "四分之一片"),
    ("11/26 复诊", "十一月二十六日复诊"),
    ("2026-11-26", "二零二六年十一月二十六日"),
    ("08:00", "早上八点"),
    ("14:30", "下午两点半"),
    ("8:05", "八点零五分"),
    ("2:00", "两点"),
    ("请拨 120", "请拨一二零"),
    ("拨打 12356 热线", "拨打一二三五六热线"),
    ("512 房", "五一二房"),
    ("12 床", "十二床"),
    ("血压 120/80 mmHg", "血压一百二十，八十毫米汞柱"),
    ("1 片 BID PC", "一片，一天两次，饭后"),
    ("1 片 Q6H PRN", "一片，每六小时一次，需要时"),
    ("5 mg HS", "五毫克，睡前"),
    ("1 g IV Q8H", "一克，静脉注射，每八小时一次"),
    ("10 U SC", "十单位，皮下注射"),
    ("2 tablets", "两片"),
    ("2 capsules", "两粒胶囊"),
    ("2 puffs", "两喷"),
    ("QW", "每周一次"),
    ("≥ 65 岁", "大于或等于六十五岁"),
    ("< 5 mg", "小于五毫克"),
    ("± 5", "正负五"),
    ("e.g. 阿司匹林", "例如阿司匹林"),
    ("-5 °C", "摄氏零下五度"),
    ("-5", "负五"),
    ("2 型糖尿病", "二型糖尿病"),
    ("II 型糖尿病", "二型糖尿病"),
    ("COVID-19", "COVID 十九"),
    ("做 CT", "做 C T"),
    ("维生素 B12", "维生素 B十二"),
    ("8 点 1 片", "八点，一片"),
    ("8 点一片", "八点，一片"),
    ("12:00", "中午十二点"),
    ("每 2 天 1 次", "每两天一次"),
    ("2 周", "两周"),
    ("2 个月", "两个月"),
    ("请看 https://a.cn。", "请看网址。"),
    ("0.5 片", "零点五片"),
    ("100%", "百分之百"),
    ("疼痛 5/10", "疼痛五分，满分十分"),
    ("Dr. 王", "王医生"),
    ("NT$300", "三百元"),
    ("请按时吃药。", "请按时吃药。"),
    ("50% 葡萄糖 20 mL", "百分之五十葡萄糖二十毫升"),
    ("每次 2 袋", "每次两袋"),
    ("请打 400-123-4567", "请打四零零，一二三，四五六七"),
    ("5 mg/kg/次", "每次每公斤五毫克"),
    ("下午 2 点 30 分", "下午两点三十分"),
    ("2 级高血压", "二级高血压"),
    ("3~5 天", "三到五天"),
]
ENGLISH = [
    ("1 tablet", "one tablet"),
    ("2 tablets", "two tablets"),
    ("Take 2 tabs", "Take two tablets"),
    ("1 mg", "one milligram"),
    ("100 mg", "one hundred milligrams"),
    ("0.5 mg", "zero point five milligrams"),
    (".5 mg", "zero point five milligrams"),
    ("1,250 mL", "one thousand two hundred fifty milliliters"),
    ("2.25 mg", "two point two five milligrams"),
    ("101 mg", "one hundred one milligrams"),
    ("1000000 units", "one million units"),
    ("500mg", "five hundred milligrams"),
    ("500 mg tablet", "five hundred milligram tablet"),
    ("500-mg tablets", "five hundred milligram tablets"),
    ("2 L", "two liters"),
    ("5 mcg", "five micrograms"),
    ("5 µg/h", "five micrograms per hour"),
    ("20 mEq", "twenty milliequivalents"),
    ("5 IU", "five international units"),
    ("10 U", "ten units"),
    ("5.5 mmol/L", "five point five millimoles per liter"),
    ("100 mg/dL", "one hundred milligrams per deciliter"),
    ("120 mmHg", "one hundred twenty millimeters of mercury"),
    ("5 cc", "five milliliters"),
    ("2 g", "two grams"),
    ("70 kg", "seventy kilograms"),
    ("10 mg/kg/day", "ten milligrams per kilogram per day"),
    ("250 mg/5 mL", "two hundred fifty milligrams per five milliliters"),
    ("5 mg per day", "five milligrams per day"),
    ("1 mg/mL", "one milligram per milliliter"),
    ("1-2 tablets", "one to two tablets"),
    ("1 - 2 tablets", "one to two tablets"),
    ("500-1000 mg", "five hundred to one thousand milligrams"),
    ("10–15 minutes", "ten to fifteen minutes"),
    ("1~2 puffs", "one to two puffs"),
    ("5 mg-10 mg", "five milligrams to ten milligrams"),
    ("5 mg/80 mg", "five milligrams, eighty milligrams"),
    ("400/80 mg", "four hundred milligrams, eighty milligrams"),
    ("1/2 tablet", "half a tablet"),
    ("1/2 a tablet", "half a tablet"),
    ("1/4 tablet", "one quarter of a tablet"),
    ("3/4 tablet", "three quarters of a tablet"),
    ("1/3 cup", "one third cup"),
    ("1 1/2 tablets", "one and a half tablets"),
    ("½ tablet", "half a tablet"),
    ("1½ tablets", "one and a half tablets"),
    ("1/2", "one half"),
    ("5%", "five percent"),
    ("5-10%", "five to ten percent"),
    ("0.9% saline", "zero point nine percent saline"),
    ("38.5 °C", "thirty-eight point five degrees Celsius"),
    ("101.3 °F", "one hundred one point three degrees Fahrenheit"),
    ("-5 °C", "minus five degrees Celsius"),
    ("1 °C", "one degree Celsius"),
    ("37 degrees", "thirty-seven degrees"),
    ("11/26", "November twenty-sixth"),
    ("11/26/2026", "November twenty-sixth, twenty twenty-six"),
    ("2026-11-26", "November twenty-sixth, twenty twenty-six"),
    ("Nov 26", "November twenty-sixth"),
    ("Nov. 26, 2026", "November twenty-sixth, twenty twenty-six"),
    ("November 3rd", "November third"),
    ("26 Nov", "November twenty-sixth"),
    ("on 1/2", "on January second"),
    ("in 2026", "in twenty twenty-six"),
    ("since 1999", "since nineteen ninety-nine"),
    ("in 2005", "in two thousand five"),
    ("Mon", "Monday"),
    ("08:00", "eight A M"),
    ("8:00", "eight o'clock"),
    ("8:05", "eight oh five"),
    ("20:30", "eight thirty P M"),
    ("12:00", "twelve noon"),
    ("00:00", "twelve midnight"),
    ("12:30 PM", "twelve thirty P M"),
    ("8 am", "eight A M"),
    ("at 8 a.m.", "at eight A M."),
    ("8:30 pm", "eight thirty P M"),
    ("8-10 am", "eight to ten A M"),
    ("8:00-10:00", "eight o'clock to ten o'clock"),
    ("Call 911", "Call nine one one"),
    ("Call 119 or 110", "Call one one nine or one one zero"),
    ("911", "nine one one"),
    ("Dial 988", "Dial nine eight eight"),
    ("Call 0800-788-995", "Call zero eight zero zero, seven eight eight, nine nine five"),
    ("1-800-222-1222", "one, eight zero zero, two two two, one two two two"),
    ("ext. 3021", "extension three zero two one"),
    ("extension 3021", "extension three zero two one"),
    ("Room 512", "Room five one two"),
    ("room 5", "room five"),
    ("bed 12", "bed twelve"),
    ("ward 5A", "ward five A"),
    ("5A-12", "five A, twelve"),
    ("pulse 110", "pulse one hundred ten"),
    ("glucose 119", "glucose one hundred nineteen"),
    ("BP 120/80", "B P one hundred twenty over eighty"),
    ("120/80 mmHg", "one hundred twenty over eighty millimeters of mercury"),
    ("65 years", "sixty-five years"),
    ("65 y/o", "sixty-five years old"),
    ("65-year-old", "sixty-five year-old"),
    ("1st", "first"),
    ("2nd", "second"),
    ("3rd", "third"),
    ("11th", "eleventh"),
    ("12th", "twelfth"),
    ("21st", "twenty-first"),
    ("30th", "thirtieth"),
    ("100th", "one hundredth"),
    ("x3 days", "for three days"),
    ("x 7d", "for seven days"),
    ("x3", "times three"),
    ("2 x 500 mg", "two times five hundred milligrams"),
    ("≥ 65", "greater than or equal to sixty-five"),
    ("< 5", "less than five"),
    ("+/- 5", "plus or minus five"),
    ("±5", "plus or minus five"),
    ("A & B", "A and B"),
    ("and/or", "and or"),
    ("yes/no", "yes, no"),
    ("(after meals)", "after meals"),
    ("Take it (with food).", "Take it, with food."),
    ("e.g. aspirin", "for example, aspirin"),
    ("i.e. now", "that is, now"),
    ("aspirin, etc.", "aspirin, et cetera."),
    ("Dr. Wang", "Doctor Wang"),
    ("Mr. Lin", "Mister Lin"),
    ("No. 3", "number three"),
    ("#3", "number three"),
    ("w/ food", "with food"),
    ("w/o food", "without food"),
    ("vs.", "versus"),
    ("approx. 5", "approximately five"),
    ("tablet(s)", "tablets"),
    ("unit(s)", "units"),
    ("COVID-19", "COVID nineteen"),
    ("B12", "B twelve"),
    ("Vitamin D3 1000 IU", "Vitamin D three, one thousand international units"),
    ("Vitamin K2", "Vitamin K two"),
    ("GLP-1", "G L P one"),
    ("HbA1c", "H B A one C"),
    ("H1N1", "H one N one"),
    ("SpO2 98%", "S P O two, ninety-eight percent"),
    ("E11.9", "E one one point nine"),
    ("L3", "L three"),
    ("CT", "C T"),
    ("ICU", "I C U"),
    ("MRI scan", "M R I scan"),
    ("an IV line", "an I V line"),
    ("OK", "OK"),
    ("NSAID", "N S A I D"),
    ("COPD", "C O P D"),
    ("TAKE WITH FOOD", "TAKE WITH FOOD"),
    ("ASPIRIN", "ASPIRIN"),
    ("QD", "once a day"),
    ("BID", "twice a day"),
    ("TID", "three times a day"),
    ("QID", "four times a day"),
    ("Q6H", "every six hours"),
    ("q8h", "every eight hours"),
    ("Q4-6H", "every four to six hours"),
    ("QOD", "every other day"),
    ("QHS", "every night at bedtime"),
    ("qAM", "every morning"),
    ("qw", "once a week"),
    ("Q1H", "every hour"),
    ("Q2W", "every two weeks"),
    ("PRN", "when needed"),
    ("STAT", "right away"),
    ("1 tablet PO BID PC", "one tablet by mouth twice a day after meals"),
    ("1 tab po bid pc prn", "one tablet by mouth twice a day after meals when needed"),
    ("5 mg HS", "five milligrams at bedtime"),
    ("10 units SC AC", "ten units under the skin before meals"),
    ("1 g IV Q8H", "one gram into a vein every eight hours"),
    ("50 mg IM", "fifty milligrams into a muscle"),
    ("0.4 mg SL PRN", "zero point four milligrams under the tongue when needed"),
    ("1 drop OD", "one drop right eye"),
    ("1 tab OD", "one tablet once a day"),
    ("BIDPC", "twice a day after meals"),
    ("p.o. b.i.d.", "by mouth twice a day."),
    ("I bid you farewell", "I bid you farewell"),
    ("my pc", "my pc"),
    ("type II diabetes", "type two diabetes"),
    ("Stage IV", "Stage four"),
    ("5 10", "five, ten"),
    ("20 5 mg tablets", "twenty, five milligram tablets"),
    ("twenty 5 mg tablets", "twenty, five milligram tablets"),
    ("3 times a day", "three times a day"),
    ("10-day course", "ten day course"),
    ("24-hour pharmacy", "twenty-four hour pharmacy"),
    ("24/7", "twenty-four over seven"),
    ("pain 5/10", "pain five out of ten"),
    ("$100", "one hundred dollars"),
    ("http://a.com/b.", "the web address."),
    ("a@b.com", "the email address"),
    ("• Take 1 tablet", "Take one tablet"),
    ("1. Take 1 tablet", "one, Take one tablet"),
    ("Take 2.", "Take two."),
    ("1:1000", "one to one thousand"),
    ("007", "zero zero seven"),
    ("-5", "minus five"),
    ("-0,5 kg", "minus zero point five kilograms"),
    ("-2 1/4 kg", "minus two and one quarter kilograms"),
    ("-1/2 kg", "minus half a kilogram"),
    ("10^-3", "ten to the power of minus three"),
    ("5 → 10 mg", "five, ten milligrams"),
    ("5😀10", "five, ten"),
    ("Good 👍 job", "Good job"),
    ("５ mg", "five milligrams"),
    ("10^9", "ten to the power of nine"),
    ("Panadol500mg", "Panadol five hundred milligrams"),
    ("脈優錠 5 mg", "脈優錠 five milligrams"),
    ("well-known", "well-known"),
    ("I'm fine, thanks.", "I'm fine, thanks."),
    ("Please wait for the nurse.", "Please wait for the nurse."),
    ("Your pulse is 110.", "Your pulse is one hundred ten."),
    (
        "Take 1 tablet (5 mg) by mouth at 08:00 and 20:00.",
        "Take one tablet, five milligrams, by mouth at eight A M and eight P M.",
    ),
    (
        "Do not exceed 4,000 mg in 24 hours.",
        "Do not exceed four thousand milligrams in twenty-four hours.",
    ),
    (
        "<70 mg/dL or >300",
        "less than seventy milligrams per deciliter or greater than three hundred",
    ),
    ("every 4-6 hours", "every four to six hours"),
    ("60 mL/min/1.73 m2", "sixty milliliters per minute per one point seven three square meters"),
    (
        "Next visit: Mon, Nov 30 at 2:30 pm.",
        "Next visit: Monday, November thirtieth at two thirty P M.",
    ),
    ("You may 5", "You may five"),
    ("5/10/20 mg", "five milligrams, ten milligrams, twenty milligrams"),
    ("at 0830", "at zero eight three zero"),
    (
        "for Mrs. Chen, 72 y/o, in Room 1205-2.",
        "for Missus Chen, seventy-two years old, in Room one two zero five, two.",
    ),
    ("a 3-day, 2-drug regimen", "a three day, two drug regimen"),
    ("1 g = 1000 mg", "one gram equals one thousand milligrams"),
    ("vitamin A", "vitamin A"),
    ("No. It is 5.", "No. It is five."),
    ("4 x daily", "four times daily"),
    ("200 mcg/puff, 2 puffs BID", "two hundred micrograms per puff, two puffs twice a day"),
    ("q6-8h prn", "every six to eight hours when needed"),
    (
        "Call 555-123-4567 or 911",
        "Call five five five, one two three, four five six seven, or nine one one",
    ),
    ("Call 116 123", "Call one one six, one two three"),
    ("the number is 1925", "the number is one nine two five"),
    ("1,5 mg", "one, five milligrams"),
    ("1/2 a tablet as needed", "half a tablet as needed"),
    ("TID-QID", "three times a day to four times a day"),
    ("2 pills", "two pills"),
    ("1 packet", "one packet"),
    ("NYHA class III", "N Y H A class three"),
    ("NaHCO3", "NaHCO three"),
    ("184 mcg/22 mcg/dose", "one hundred eighty-four micrograms, twenty-two micrograms per dose"),
    ("5-fluorouracil", "five fluorouracil"),
    ("see a_b", "see a b"),
    ("5*3", "five times three"),
    ("Q12H x 4 doses", "every twelve hours, four doses"),
    ("1/4 packet", "one quarter of a packet"),
    ("1-1/2 tablets", "one and a half tablets"),
    ("1/2-1 tablet", "one half to one tablet"),
    ("U-100 insulin", "U one hundred insulin"),
    ("0.1-0.2 mg", "zero point one to zero point two milligrams"),
]

CHINESE = [Language.ZH_HANT, Language.ZH_HANS]
NUMERAL = re.compile("[零〇一二三四五六七八九十百千万亿两]+(?:点[零一二三四五六七八九]+)?")

UNITS = ["mg", " mg", " mL", " mcg", " g", " IU", " 單位", " 顆", " 滴", " mg/mL", " 公斤", "mL"]
WHOLE = st.integers(1, 99_999)
WHOLES = WHOLE.map(str) | WHOLE.map("{:,}".format)
DECIMALS = st.decimals(0, 999, places=2, allow_nan=False).map(str) | st.decimals(
    0, 99, places=3, allow_nan=False
).map(str)
NUMBERS = WHOLES | DECIMALS
ENGLISH_UNITS = ["mg", " mg", " mL", " mcg", " g", " IU", " units", " tablets", " mg/mL", " puffs"]

BIT_TOKENS = (
    "5 1 12 0 38.5 1,000 / - – ~ : ： . , ， 。 mg mL BID QD Q6H 顆 錠 點 分 半 一 十 百 第 每 IV"
    " B12 x × # ( ) （ % °C ° am pm Nov 26 Dr. e.g. No. A kg day ≥ < +/- → 😀 ½ ² ① Ⅱ é ٣ room"
    " call 電話 119 $ ^ ^-1 @ http://a.b a@b.c per | * _ 二 兩 twenty five half 1\ufe0f\u20e3"
    " \u200b \ud800 \x00"
)
BITS = st.sampled_from([*BIT_TOKENS.split(" "), "\n", " ", "  "])


@pytest.mark.parametrize(("written", "spoken"), TAIWAN)
def test_taiwan(written, spoken):
    assert spoken_form(written, Language.ZH_HANT) == spoken


@pytest.mark.parametrize(("written", "spoken"), MAINLAND)
def test_mainland(written, spoken):
    assert spoken_form(written, Language.ZH_HANS) == spoken


@pytest.mark.parametrize(("written", "spoken"), ENGLISH)
def test_english(written, spoken):
    assert spoken_form(written, Language.EN) == spoken


def test_what_is_in_words_already_stays_as_it_is():
    for language, table in zip(Language, (TAIWAN, MAINLAND, ENGLISH), strict=True):
        for _, spoken in table:
            assert spoken_form(spoken, language) == spoken


def values_in_chinese(spoken: str) -> list[float]:
    """The numbers of a text in Chinese, each run of numerals being one."""
    found = NUMERAL.findall(canonical(spoken))
    return [value for run in found if (value := chinese_value(run)) is not None]


ONES = {number_in_words(str(n), Language.EN): n for n in range(20)}
TENS = {number_in_words(str(n), Language.EN): n for n in range(20, 100, 10)}
POWERS = {"thousand": 10**3, "million": 10**6, "billion": 10**9}


def values_in_english(spoken: str) -> list[float]:
    """The numbers of a text in English; whatever is no word of a number stands between two."""
    values: list[float] = []
    run: list[str] = []
    for word in [*re.findall(r"[a-z]+|[^a-z\s-]", spoken.lower()), "."]:
        if word in ONES or word in TENS or word in POWERS or word in ("hundred", "point"):
            run.append(word)
        elif run:
            values.append(value_in_english(run))
            run = []
    return values


def value_in_english(words: list[str]) -> float:
    whole, _, fraction = " ".join(words).partition(" point ")
    total = group = 0
    for word in whole.split():
        if word in POWERS:
            total, group = total + group * POWERS[word], 0
        elif word == "hundred":
            group *= 100
        else:
            group += ONES[word] if word in ONES else TENS[word]
    digits = "".join(str(ONES[word]) for word in fraction.split())
    return float(f"{total + group}.{digits or 0}")


def value_of(number: str) -> float:
    return float(number.replace(",", ""))


def approximately(doses: list[tuple[str, str]]) -> object:
    return pytest.approx([value_of(number) for number, _ in doses], rel=1e-9)


@given(st.lists(st.tuples(NUMBERS, st.sampled_from(UNITS)), min_size=1, max_size=4))
def test_numbers_of_a_chinese_dose_are_read_back(doses):
    written = "請服用 " + "，再用 ".join(number + unit for number, unit in doses) + "。"
    for language in CHINESE:
        spoken = spoken_form(written, language)
        assert values_in_chinese(spoken) == approximately(doses)


@given(NUMBERS, st.sampled_from([" mg", " mL", " mcg", " 單位", " 顆"]))
def test_normal_form_hears_the_dose_that_was_written(number, unit):
    for language in CHINESE:
        heard = with_digits(canonical(spoken_form(f"請用 {number}{unit}。", language)))
        found = [float(run) for run in re.findall(r"\d+(?:\.\d+)?", heard)]
        # It writes six digits.
        assert found == [float(f"{value_of(number):g}")] or value_of(number) == 0


@given(st.lists(st.tuples(NUMBERS, st.sampled_from(ENGLISH_UNITS)), min_size=1, max_size=4))
def test_numbers_of_an_english_dose_are_read_back(doses):
    written = "Take " + ", then ".join(number + unit for number, unit in doses) + "."
    spoken = spoken_form(written, Language.EN)
    assert values_in_english(spoken) == approximately(doses)


@given(WHOLE, WHOLE, st.sampled_from(["-", "–", "~", " - ", "～"]), st.sampled_from(["mg", " 顆"]))
def test_ranges_keep_both_ends(first, second, dash, unit):
    low, high = sorted((first, second))
    if low == high:
        return
    spoken = spoken_form(f"用 {low}{dash}{high}{unit}。", Language.ZH_HANT)
    assert values_in_chinese(spoken) == [low, high]
    assert "到" in spoken
    spoken = spoken_form(f"Take {low}{dash}{high} mg.", Language.EN)
    assert values_in_english(spoken) == [low, high]
    assert " to " in spoken


@given(
    st.integers(1, 99_999),
    st.integers(1, 99_999),
    st.sampled_from([" ", "  ", "，", "、", " (", "😀", " | ", " * ", "; ", " → ", "\n", " _ "]),
)
def test_two_numbers_never_become_one(first, second, between):
    spoken = spoken_form(f"用{first}{between}{second}次", Language.ZH_HANT)
    if not singly(spoken):
        assert values_in_chinese(spoken) == [first, second]
    spoken = spoken_form(f"use {first}{between}{second} doses", Language.EN)
    if not singly(spoken):
        assert values_in_english(spoken) == [first, second]


def singly(spoken: str) -> bool:
    """Whether an emergency number is in it, which is read digit by digit."""
    return any(
        "".join(number_in_words(d, language) + gap for d in number).strip() in spoken
        for number in ("119", "911", "1925", "1995", "1980", "1922", "1966", "12356", "12320")
        for language, gap in ((Language.ZH_HANT, ""), (Language.EN, " "))
    )


@given(st.integers(0, 23), st.integers(0, 59))
def test_times_keep_hour_and_minute(hour, minute):
    shown = hour % 12 or 12
    for language in CHINESE:
        spoken = spoken_form(f"{hour:02}:{minute:02}", language).replace("半", "三十分")
        expected = [shown, minute] if minute else [shown]
        assert values_in_chinese(re.sub("[點点]", "時", spoken)) == expected
        assert hour < 12 or re.search("中午|下午|晚上", spoken) or hour == 12


@given(st.integers(0, 999_999_999_999))
def test_chinese_numerals_have_the_value_of_the_digits(value):
    for language in CHINESE:
        words = canonical(number_in_words(str(value), language))
        hundred_millions, _, rest = words.rpartition("亿")
        heard = chinese_value(rest.removeprefix("零") or "零") or 0
        if hundred_millions:
            heard += (chinese_value(hundred_millions) or 0) * 10**8
        assert heard == value


@given(st.integers(0, 10**15 - 1))
def test_english_numerals_have_the_value_of_the_digits(value):
    words = number_in_words(str(value), Language.EN).replace(" trillion", "")
    if value < 10**12:
        assert values_in_english(words) == [value]


@settings(max_examples=300)
@given(st.lists(BITS, max_size=16).map("".join) | st.text(max_size=60))
def test_no_text_makes_it_fail_and_no_digit_is_left(text):
    for language in Language:
        spoken = spoken_form(text, language)
        assert not re.search("[0-9]", spoken)


@given(st.text("的是我請吃藥，。、！？好嗎「」", max_size=40))
def test_plain_chinese_is_unchanged(text):
    assert spoken_form(text, Language.ZH_HANT) == text


@given(st.lists(st.sampled_from(["please", "take", "Amlodipine", "food,", "and", "rest."])))
def test_plain_english_is_unchanged(words):
    text = " ".join(words)
    assert spoken_form(text, Language.EN) == text


@pytest.mark.parametrize(
    "bit",
    ["5 ", "5/", "1,", "5-", "a", "A1", "5 mg/", "(", "，", "1:1 ", "一5", "http://", "a@", "😀"],
)
def test_time_is_linear(bit):
    spoken_form("5 mg", Language.EN)  # the table is read
    text = (bit * 20_000)[:20_000]
    for language in (Language.ZH_HANT, Language.EN):
        start = time.process_time()
        spoken_form(text, language)
        assert time.process_time() - start < 1.0


def test_every_abbreviation_of_the_labels_is_read_in_words():
    source = importlib.resources.files("medbot_llm.resource") / "label_terms.yaml"
    table = yaml.safe_load(source.read_text(encoding="utf-8"))
    words = {"take", "and", "or", "oral"}
    abbreviations = {
        form
        for entry in table["terms"]
        for form in entry["forms"]
        if form.isascii() and form.isalpha() and len(form) <= 4 and form not in words
    }
    assert len(abbreviations) > 15
    for form in sorted(abbreviations):
        for language in Language:
            spoken = spoken_form(f"5 mg {form.upper()}", language)
            letters = " ".join(form.upper())
            assert form.upper() not in spoken and letters not in spoken
